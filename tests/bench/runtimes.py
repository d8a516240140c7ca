"""One student under each runtime and precision, in turns in one process: time, nearness to torch, size.

python tests/bench/runtimes.py [--rounds 40] [--precisions fp32 int8]    # minutes; needs the extra openvino

The embedded teacher and a 3x192 student of it that is cut out and not trained. Times are CPU seconds of the process in
one thread, the least of all rounds and their median, so that other work on the machine moves them less than a clock on
the wall. Cosines are of held-out docstrings, alone and in batches (trainables/export/artefact.py).
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from spaces.records.deploy import DeploySpec
from spaces.records.runtimes import FILE_RUNTIMES, RUNTIMES, opener
from trainables.export.artefact import compare, feeds_of, parity_rows, write_file
from trainables.export.inputs import inputs_of
from trainables.machine import hardware, versions, without_vnni
from trainables.models.file_encoder import EMBEDDING
from trainables.models.student import build_student
from trainables.models.teacher import load_teacher
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec

SHAPES = ((1, 32), (1, 128), (8, 128))
WARMUP = 3
ENGINES = [runtime.engine for runtime in RUNTIMES.values()]
CONFIG = {
    "method": "hs", "initialisation": "projected_layers", "num_layers": 3, "hidden_size": 192, "num_heads": 12,
    "intermediate_size": 768,
}  # fmt: skip


def passes_of(model, files, lengths):
    """By name, a pass over texts of these lengths: in torch, and by each file on one thread."""
    (inputs,) = inputs_of(model, [lengths])
    found = {"torch fp32": lambda: model.base_model(**inputs)}
    for name, (runtime, file) in files.items():
        session = opener(runtime)(file, 1)
        feeds = feeds_of([row[:length] for row, length in zip(inputs["input_ids"].numpy(), lengths, strict=True)], 0,
                         session.inputs)  # fmt: skip
        found[name] = lambda session=session, feeds=feeds: session.run([EMBEDDING], feeds)
    return found


@torch.inference_mode()
def times_ms(passes, rounds):
    """By name, (least, median) of the CPU milliseconds of a pass, all in turns."""
    taken = {name: [] for name in passes}
    for number in range(WARMUP + rounds):
        for name, forward in passes.items():
            before = time.process_time()
            forward()
            if number >= WARMUP:
                taken[name].append(1000 * (time.process_time() - before))
    return {name: (min(each), float(np.median(each))) for name, each in taken.items()}


def table_of(model, tokenizer, corpus, options, folder):
    """Print a row for each runtime and precision."""
    files, told = {}, {"torch fp32": ["", "", "", ""]}
    for runtime in FILE_RUNTIMES:
        for precision in options.precisions:
            deploy = DeploySpec(runtime, precision)
            file = write_file(model, folder / runtime / precision / Path(deploy.place).name, deploy, corpus)
            parity = compare(model, file, parity_rows(corpus), tokenizer.pad_token_id, runtime)
            size = f"{RUNTIMES[runtime].size_mb(file):.1f}"
            files[f"{runtime} {precision}"] = (runtime, file)
            told[f"{runtime} {precision}"] = [
                f"{parity.cosine:.4f}", f"{parity.lowest_cosine:.4f}", f"{parity.batch_difference:.1g}", size
            ]  # fmt: skip
    found = [times_ms(passes_of(model, files, [length] * size), options.rounds) for size, length in SHAPES]
    heads = ["", "mean cosine", "lowest", "alone and in a batch", "MB", *(f"{size} x {n}, ms" for size, n in SHAPES)]
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    for name, cells in told.items():
        times = [f"{each[name][0]:.2f} ({each[name][1]:.2f})" for each in found]
        print("| " + " | ".join([name, *cells, *times]) + " |", flush=True)


def main() -> None:
    """Both students, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "int8"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = versions()
    print(
        hardware(),
        *(["without VNNI"] if without_vnni() else []),
        *(f"{each} {known[each]}" for each in ENGINES),
        sep=", ",
    )
    teacher = load_teacher("package:trainables/embedded_teacher")
    corpus = open_corpus(prepare_corpus(CorpusSpec("docs", 64, max_tokens=50_000), teacher.tokenizer))
    student = build_student(CONFIG, teacher, 0, corpus)
    for name, model in {"embedded teacher, 6x192": teacher.model, "3x192": student}.items():
        print(f"\n{name}\n")
        with tempfile.TemporaryDirectory() as folder:
            table_of(model.eval(), teacher.tokenizer, corpus, options, Path(folder))


if __name__ == "__main__":
    main()
