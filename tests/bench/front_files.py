"""The front of a study as the files that run in production: what int8 costs in quality, and what it saves.

    python tests/bench/front_files.py STUDY [--precision int8] [--rounds 100]    # a minute for each member of the front

Each member is written in float for ONNX Runtime, and rounded for each runtime that is installed. Quality is the mean
share of the teacher's gain, on dev and on test, by the rounded ONNX file and by the weights in torch: both read by the
probes that were fitted on the file, so that nothing else differs. `loss` is torch less file. Times are the process's
own milliseconds on one thread, all in turns: the least of all rounds, since other work only adds to them. STUDY is
finished, its corpus and its tasks are on this machine.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from runtimes import SHAPES, passes_of, times_ms
from timing import print_table, setting

from search.phases.data import corpus_prompts, prepare_for_both
from search.phases.students import FLOOR, TEACHER, local_student
from search.store.contents import stored_data, stored_table
from search.store.parts import Store
from spaces.records.deploy import DeploySpec
from spaces.records.fronts import front_of
from spaces.records.runtimes import FILE_RUNTIMES, ONNX, RUNTIMES, what_lacks
from spaces.records.shares import mean_share
from trainables.export.artefact import write_file
from trainables.machine import without_vnni
from trainables.models.embedding import embedder_of
from trainables.models.encoder import architecture
from trainables.models.file_encoder import open_encoder
from trainables.models.teacher import load_teacher
from trainables.tasks.scoring import load_task, recovered, score_task
from trainables.text.corpus import open_corpus, prepare_corpus

FLOAT, SPLITS = "fp32", ("dev", "test")
"""What every precision is compared with, and what is scored."""


def references_of(store):
    """By split and task, (teacher, floor)."""
    found = {"dev": {name: (task.teacher, task.floor) for name, task in store.read_meta().tasks.items()}, "test": {}}
    scores = {(row["trial"], row["task"]): row["score"] for row in store.read_rows("test_scores")}
    for name in found["dev"]:
        if (TEACHER, name) in scores:
            found["test"][name] = scores[TEACHER, name], scores[FLOOR, name]
    return found


def qualities_of(student, file, data, seed, references):
    """By split, the quality of (weights in torch, file)."""
    model = student.model
    encoder = open_encoder(ONNX, file, model.config, embedder_of(model), architecture(model.config).num_layers)
    shares = {split: ({}, {}) for split in SPLITS}
    for spec in data.tasks:
        task = load_task(prepare_for_both(data.evaluation, spec, student, lambda line: None))
        known = [split for split in SPLITS if spec.name in references[split]]
        for place, fitted in ((1, None), (0, encoder)):
            judged = model if place == 0 else encoder
            for split, each in score_task(judged, task, data.evaluation, known, seed, fitted).items():
                shares[split][place][spec.name] = recovered(each.score, *references[split][spec.name])
    weights = {spec.name: spec.weight for spec in data.tasks}
    return {split: [mean_share(each, weights) for each in both] for split, both in shares.items() if both[0]}


def main() -> None:
    """Print a table of qualities and one of costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = Store.of(options.study)
    meta, data, references = store.read_meta(), stored_data(stored_table(store)), references_of(store)
    kinds = [(ONNX, FLOAT), *((each, options.precision) for each in FILE_RUNTIMES if not what_lacks(each))]
    qualities, costs, losses = [], [], {split: [] for split in SPLITS}
    for row in front_of(store.read_trials(), meta.aim):
        with local_student(store, row) as folder, tempfile.TemporaryDirectory() as scratch:
            student = load_teacher(str(folder))
            model, name = student.model.eval(), f"{architecture(student.model.config).name} by `{row.config['method']}`"
            prompts = corpus_prompts(data.corpus, embedder_of(model))
            corpus = open_corpus(prepare_corpus(data.corpus, student.tokenizer, lambda line: None, *prompts))
            files = {}
            for runtime, precision in kinds:
                file, deploy = Path(scratch, runtime, precision), DeploySpec(runtime, precision)
                files[f"{runtime} {precision}"] = runtime, write_file(model, file / deploy.place, deploy, corpus)
            found = qualities_of(student, files[f"{ONNX} {options.precision}"][1], data, row.seed, references)
            qualities.append([name, *(f"{value:.3f}" for both in found.values() for value in both)])
            for split, (weights, file) in found.items():
                losses[split].append(weights - file)
            sizes = [RUNTIMES[runtime].size_mb(file) for runtime, file in files.values()]
            passes = [passes_of(model, files, [length] * size) for size, length in SHAPES]
            times = [times_ms(each, options.rounds) for each in passes]
        for place, kind in enumerate(times[0]):
            megabytes = [f"{sizes[place - 1]:.1f} ({sizes[0] / sizes[place - 1]:.1f}x)"] if place else [""]
            own = [f"{each[kind][0]:.2f} ({each[f'{ONNX} {FLOAT}'][0] / each[kind][0]:.2f}x)" for each in times]
            costs.append([name, kind, *megabytes, *own])
    print(setting("onnxruntime"), "without VNNI" if without_vnni() else "with VNNI")
    print_table(["student", *(f"{split}, {what}" for split in SPLITS for what in ("torch", "file"))], qualities)
    for split, each in losses.items():
        if each:
            spread = np.std(each, ddof=1) / len(each) ** 0.5 if len(each) > 1 else np.nan
            print(f"\nmean loss on {split}: {np.mean(each):.4f} (standard error over students {spread:.4f})")
    print_table(["student", "as", "MB", *(f"{size} x {length}, ms" for size, length in SHAPES)], costs)


if __name__ == "__main__":
    main()
