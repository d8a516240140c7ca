"""Times the files of a bundle on the machine where they will run: pip install onnxruntime numpy; python measure.py

It stands by itself: `stillhouse profile STUDY --bundle FOLDER` copies it there as measure.py, beside the files and
bundle.json. It writes measured.json, which `stillhouse profile STUDY --import measured.json` takes into the study.

The files take turns, so that what slows the machine down slows all of them alike. A busy machine is noticed: medians of
the first and of the last tenth of the passes differ.
"""

import datetime
import json
import os
import platform
import time
from pathlib import Path

ROUNDS, WARMUP = 40, 3
ROUND_S, MOST_PASSES = 0.05, 8
"""Of one file in one round: a pass at least, and as many more as fit."""
BUSY = 0.1


def main(folder: Path) -> Path:
    """Measure all files of a folder; returns the file that was written."""
    import numpy as np
    import onnxruntime

    bundle = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    setting, students = bundle["setting"], bundle["students"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = setting["threads"], 1
    shape = (setting["batch_size"], setting["sequence_length"])
    passes: list[tuple] = []
    for student in students:
        session = onnxruntime.InferenceSession(str(folder / student["file"]), options, ["CPUExecutionProvider"])
        ids = np.random.default_rng(0).integers(5, student["vocab_size"], shape)
        known = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        feeds = {each.name: known[each.name] for each in session.get_inputs()}
        passes.append((session, feeds, []))
    for number in range(WARMUP + ROUNDS):
        for session, feeds, times_ms in passes:
            started, count = time.perf_counter(), 0
            while count < 1 or (count < MOST_PASSES and time.perf_counter() - started < ROUND_S):
                before = time.perf_counter()
                session.run(["sentence_embedding"], feeds)
                count += 1
                if number >= WARMUP:
                    times_ms.append(1000 * (time.perf_counter() - before))
    rows = []
    for student, (_, _, times_ms) in zip(students, passes, strict=True):
        times, tenth = np.array(times_ms), max(1, len(times_ms) // 10)
        first, last = np.median(times[:tenth]), np.median(times[-tenth:])
        p50, p95 = np.percentile(times, [50, 95])
        moved = max(first, last) / min(first, last) - 1
        draws = np.random.default_rng(0).choice(times, (200, len(times)))
        low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
        row = {"latency_p50_ms": p50, "latency_p95_ms": p95, "latency_moved": moved, "runs": len(times)}
        size_mb = (folder / student["file"]).stat().st_size / 1e6
        rows.append({"name": student["name"], "trials": student["trials"], **row, "disk_mb": size_mb})
        busy = f"; the first and the last tenth are {moved:.0%} apart: the machine is busy" if moved > BUSY else ""
        print(f"{student['name']:<12} {p50:8.2f} ms ({low:.2f} to {high:.2f}), 95 %: {p95:.2f} ms{busy}", flush=True)
    found = {
        "format": bundle["format"], "study": bundle["study"], "setting": setting, "rows": rows, "hardware": hardware(),
        "versions": {"python": platform.python_version(), "onnxruntime": onnxruntime.__version__},
        "measured_at": datetime.datetime.now(datetime.timezone.utc).isoformat(),  # noqa: UP017 - before Python 3.11
    }  # fmt: skip
    target = folder / "measured.json"
    target.write_text(json.dumps(found, indent=1, default=float), encoding="utf-8")
    print(f"{hardware()}; written to {target}")
    return target


def hardware() -> str:
    """The processor and the cores that this process may use."""
    name, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{' '.join(name.split())}, {cores} core{'s' if cores > 1 else ''}"


if __name__ == "__main__":
    main(Path(__file__).resolve().parent)
