"""Where the time of a student goes in torch, and in its float and int8 file, operator by operator.

python tests/bench/int8_inside.py [--teacher MODEL --corpus FOLDER] [--rounds 200]    # a minute

A 3-layer student of the teacher, cut out and not trained, one text of 32 tokens on one thread, all in turns. Times of
passes are the thread's own, those of operators of onnxruntime's profiler: of each the least of all passes. `products`
are the maps by learned matrices; their rate is twice the multiplications that a pass needs, by their time. `bound` is a
pass without its products, as if they took no time: no faster product makes the file faster than that. `unsigned` is the
int8 file with unsigned weights of 8 bits, `signed` with signed ones, whose sums saturate on x86 without VNNI.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from quantise import eight_bits, maps_of

from trainables.export.artefact import calibration_rows, feeds_of
from trainables.export.graphs import export_onnx, sample_inputs
from trainables.export.quantising import static_int8
from trainables.machine import hardware, versions, without_vnni
from trainables.models.file_encoder import EMBEDDING
from trainables.models.student import build_student
from trainables.models.teacher import load_teacher
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec

TOKENS, LAYERS = 32, 3
PRODUCTS = ("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulIntegerToFloat")
"""As onnxruntime calls them after its optimiser; an attention's own products are inside MultiHeadAttention."""
SHOWN = 6


WAYS = {
    "int8": static_int8,
    "int8, unsigned": partial(eight_bits, signed=False),
    "int8, signed": partial(eight_bits, signed=True),
}


def session_of(file: Path, profile: Path | None = None) -> onnxruntime.InferenceSession:
    """On one thread; profile: where the times of its operators go."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    return onnxruntime.InferenceSession(str(file), options)


def by_kind_ms(told: onnxruntime.InferenceSession) -> dict[str, float]:
    """By kind of operator, the time in a pass: of each operator the least of all passes."""
    taken, kinds = defaultdict(list), {}
    for event in json.loads(Path(told.end_profiling()).read_text()):
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            taken[event["name"]].append(event["dur"] / 1000)
            kinds[event["name"]] = event["args"]["op_name"]
    found: dict[str, float] = defaultdict(float)
    for name, each in taken.items():
        found[kinds[name]] += min(each)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


@torch.inference_mode()
def measured(model, files: dict[str, Path], row, names, rounds: int, folder: Path):
    """By name, (the least time of a pass, `by_kind_ms`), all in turns; torch has no second."""
    ids_BT, feeds = torch.from_numpy(row[None]), feeds_of([row], 0, names)
    plain = {name: session_of(file) for name, file in files.items()}
    told = {name: session_of(file, folder / f"{number}") for number, (name, file) in enumerate(files.items())}
    passes = {"torch": lambda: model.base_model(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT))}
    passes |= {name: partial(session.run, [EMBEDDING], feeds) for name, session in plain.items()}
    taken = defaultdict(list)
    for _ in range(rounds):
        for name, forward in passes.items():
            before = time.thread_time()
            forward()
            taken[name].append(1000 * (time.thread_time() - before))
        for session in told.values():
            session.run([EMBEDDING], feeds)
    return {name: (min(each), by_kind_ms(told[name]) if name in told else {}) for name, each in taken.items()}


def main() -> None:
    """Print both tables, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="package:trainables/embedded_teacher")
    parser.add_argument("--corpus", default="docs")
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    vnni = "without VNNI" if without_vnni() else "with VNNI"
    print(f"{hardware()}, {vnni}, torch {versions()['torch']}, onnxruntime {onnxruntime.__version__}")
    teacher = load_teacher(options.teacher)
    text = CorpusSpec(options.corpus, 64, texts="single", max_tokens=200_000)
    corpus = open_corpus(prepare_corpus(text, teacher.tokenizer))
    shape = {**vars(teacher.facts.architecture), "num_layers": LAYERS}
    student = build_student({**shape, "method": "hs", "initialisation": "projected_layers"}, teacher, 0, corpus).eval()
    names, row = list(sample_inputs(student)), np.random.default_rng(0).integers(5, 1000, TOKENS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = {"float": export_onnx(student, folder / "float.onnx")}
        texts = [feeds_of([each], 0, names) for each in calibration_rows(corpus)]
        for name, quantise in WAYS.items():
            files[name] = folder / f"{name}.onnx"
            quantise(files["float"], files[name], texts)
        giga = 2 * TOKENS * sum(int(np.prod(dims)) for dims in maps_of(files["float"]).values()) / 1e9
        found = measured(student, files, row, names, options.rounds, folder)
    print(
        f"\n{LAYERS}x{teacher.facts.architecture.hidden_size}, 1 x {TOKENS}: {giga:.2f} giga-operations of its maps\n"
    )
    print("| | ms | against torch | products, ms | GOP/s | all else, ms | bound against torch |\n" + "| --- " * 7 + "|")
    in_torch, _ = found.pop("torch")
    print(f"| torch | {in_torch:.2f} | 1.0x | | | | |")
    for name, (whole_ms, kinds) in found.items():
        products = sum(ms for kind, ms in kinds.items() if kind in PRODUCTS)
        rest = sum(kinds.values()) - products
        print(
            f"| {name} | {whole_ms:.2f} | {in_torch / whole_ms:.1f}x | {products:.2f} | {1000 * giga / products:.0f} "
            f"| {rest:.2f} | {in_torch / rest:.1f}x |"
        )
    print()
    for name, (_, kinds) in found.items():
        print(f"{name}: " + ", ".join(f"{kind} {ms:.2f}" for kind, ms in list(kinds.items())[:SHOWN]) + " ms")


if __name__ == "__main__":
    main()
