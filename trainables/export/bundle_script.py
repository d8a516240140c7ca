"""Times the files of a bundle on the machine where they will run: pip install numpy and the package that runs the files
(bundle.json names it: onnxruntime or openvino); python measure.py

It stands by itself: `stillhouse profile STUDY --bundle FOLDER` copies it there as measure.py, beside the files and
bundle.json. It writes measured.json, which `stillhouse profile STUDY --import measured.json` takes into the study.

The files take turns, so that what slows the machine down slows all of them alike. A busy machine is noticed: medians of
the first and of the last tenth of the passes differ.
"""

import datetime
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROUNDS, WARMUP = 40, 3
ROUND_S, MOST_PASSES = 0.05, 8
"""Of one file in one round: all of its batches at least, and as often again as fits."""
BUSY = 0.1
DRAWS = 200
"""Of all rounds, from which the intervals of 95 % follow."""


def main(folder: Path) -> Path:
    """Measure all files of a folder; returns the file that was written."""
    import numpy as np

    bundle = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    setting, students = bundle["setting"], bundle["students"]
    engine = bundle["engine"]
    batches = bundle["batches"]
    passes: list[tuple] = []
    for student in students:
        names, run = OPENED_BY[engine](folder / student["file"], setting["threads"])
        feeds = []
        for lengths in batches:
            shape = (len(lengths), max(lengths))
            mask = (np.arange(shape[1]) < np.array(lengths)[:, None]).astype(np.int64)
            ids = mask * np.random.default_rng(0).integers(5, student["vocab_size"], shape)
            known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            feeds.append({name: known[name] for name in names})
        passes.append((run, feeds, []))
    for number in range(WARMUP + ROUNDS):
        for run, feeds, rounds in passes:
            times_ms: list[float] = []
            started = time.perf_counter()
            while not times_ms or (len(times_ms) < MOST_PASSES and time.perf_counter() - started < ROUND_S):
                for each in feeds:  # each round has all batches equally often
                    before = time.perf_counter()
                    run(each)
                    times_ms.append(1000 * (time.perf_counter() - before))
            if number >= WARMUP:
                rounds.append(np.array(times_ms))
    rows = []
    for student, (_, _, rounds) in zip(students, passes, strict=True):
        times, tenth = np.concatenate(rounds), max(1, len(rounds) // 10)
        first, last = np.median(np.concatenate(rounds[:tenth])), np.median(np.concatenate(rounds[-tenth:]))
        p50, p95 = np.percentile(times, [50, 95])
        moved = max(first, last) / min(first, last) - 1
        # Whole rounds are drawn: passes of one round are alike, so that drawn alone they would promise too much.
        draws = np.random.default_rng(0).integers(0, len(rounds), (DRAWS, len(rounds)))
        drawn = [np.percentile(np.concatenate([rounds[i] for i in each]), [50, 95]) for each in draws]
        (low, low95), (high, high95) = np.percentile(drawn, [2.5, 97.5], axis=0)
        row = {
            "latency_p50_ms": p50, "latency_p50_low_ms": low, "latency_p50_high_ms": high, "latency_p95_ms": p95,
            "latency_p95_low_ms": low95, "latency_p95_high_ms": high95, "latency_moved": moved, "runs": len(times),
        }  # fmt: skip
        size_mb = sum((folder / file).stat().st_size for file in (student["file"], *student["beside"])) / 1e6
        rows.append({"name": student["name"], "trials": student["trials"], **row, "disk_mb": size_mb})
        busy = f"; the first and the last tenth are {moved:.0%} apart: the machine is busy" if moved > BUSY else ""
        tail = f"95 %: {p95:.2f} ms ({low95:.2f} to {high95:.2f})"
        print(f"{student['name']:<12} {p50:8.2f} ms ({low:.2f} to {high:.2f}), {tail}{busy}", flush=True)
    found = {
        "format": bundle["format"], "study": bundle["study"], "setting": setting, "rows": rows, "hardware": hardware(),
        "versions": {"python": platform.python_version(), engine: version(engine)},
        "measured_at": datetime.datetime.now(datetime.timezone.utc).isoformat(),  # noqa: UP017 - before Python 3.11
    }  # fmt: skip
    target = folder / "measured.json"
    target.write_text(json.dumps(found, indent=1, default=float), encoding="utf-8")
    print(f"{hardware()}; written to {target}")
    return target


def by_onnxruntime(file: Path, threads: int) -> tuple:
    """(names of its inputs, one pass over inputs by name) of an ONNX file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
    return [each.name for each in session.get_inputs()], lambda feeds: session.run(["sentence_embedding"], feeds)


def by_openvino(file: Path, threads: int) -> tuple:
    """The same of a file of OpenVINO, in float32 where the file says so, with no word to Intel at its import."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0, "ENABLE_CPU_PINNING": False,
    }  # fmt: skip
    model = openvino.Core().compile_model(str(file), "CPU", settings)
    request = model.create_infer_request()
    return [each.get_any_name() for each in model.inputs], request.infer


OPENED_BY = {"onnxruntime": by_onnxruntime, "openvino": by_openvino}


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
