"""How much a score by the probe depends on which rows of train are held out to choose layer and strength.

Each student is read once; the choice is made for several seeds, by the metric on one fifth (`before`: the layer at the
middle strength, then the strength) and by the loss on raced folds (`now`). `sd`: of a student's quality over the seeds;
`ranks`: the rank correlation of the students between two seeds; `same layer`: of a score under two seeds. Times are CPU
seconds of one thread. STUDY is finished, its tasks are on this machine.

    python tests/bench/steady.py STUDY [--most 14] [--seeds 4]       # half a minute for each student
"""

import argparse
import itertools
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from timing import print_table, setting
from transformers import AutoTokenizer

from search.store.contents import stored_data, stored_table
from search.store.parts import Store
from trainables.cache import cache_folder
from trainables.machine import pinned_threads
from trainables.models.loading import load_model
from trainables.tasks.kinds import KINDS
from trainables.tasks.protocols.linear import fit_linear
from trainables.tasks.protocols.probe import STRENGTHS, chosen_by_folds, fitted_part, task_features
from trainables.tasks.scoring import load_task, prepare_task, recovered

SPLITS = ("dev", "test")
MIDDLE = STRENGTHS[1]


def by_metric(x_LNF, task, train, order, head):
    """(layer, strength) that serve best on one fifth, by the task's metric."""
    held_out_rows, fitted_rows = np.split(order, [max(1, round(0.2 * len(order)))])
    held_out, fitted = train.labels.indices(held_out_rows), train.labels.indices(fitted_rows)

    def score(layer, strength):
        fit = fit_linear(head, x_LNF[layer][fitted], train.labels.values[fitted], strength)
        answers = fit.predict(x_LNF[layer][held_out])
        return task.metric.sign * task.metric.function(train.labels.take(held_out_rows), answers, task.label_names)

    layer = max(range(len(x_LNF)), key=lambda layer: score(layer, MIDDLE))
    return layer, max(STRENGTHS, key=lambda strength: (score(layer, strength), -strength))


def qualities(model, task, references, seeds, times):
    """{(way, split): (share for each seed, layer for each seed)}."""
    run = KINDS[task.kind].protocols["probe"].run
    features, head, most = (run.keywords.get(name) for name in ("features", "head", "max_labels"))

    def clocked(name, call):
        started = time.process_time()
        found = call()
        times[name] += time.process_time() - started
        return found

    whole = task.splits["train"]
    whole_LNF = clocked("forward", lambda: task_features(model, task, whole, features))
    splits = [split for split in SPLITS if split in task.splits and split in references]
    read = {split: task_features(model, task, task.splits[split], features) for split in splits}
    found = defaultdict(list)
    for seed in range(seeds):
        train, order = fitted_part(task, seed, most)
        rows = whole.labels.indices(np.sort(fitted_part(task, seed, None)[1][: len(order)]))
        x_LNF = whole_LNF[:, rows]
        ways = {
            "before": lambda: by_metric(x_LNF, task, train, order, head),  # noqa: B023 - called at once
            "now": lambda: chosen_by_folds(x_LNF, train.labels, order, head),  # noqa: B023
        }
        for way, choose in ways.items():
            layer, strength = clocked(way, choose)
            fit = fit_linear(head, x_LNF[layer], train.labels.values, strength)
            for split in splits:
                answers = fit.predict(read[split][layer])
                score = task.metric.function(task.splits[split].labels, answers, task.label_names)
                found[way, split].append((recovered(score, *references[split]), layer))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--most", type=int, default=14, help="students at most, spread over the study")
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    store = Store.of(str(options.study))
    data, meta = stored_data(stored_table(store)), store.read_meta()
    folders = sorted((options.study / "students").iterdir())
    folders = [folders[i] for i in np.unique(np.linspace(0, len(folders) - 1, options.most).astype(int))]
    tokenizer = AutoTokenizer.from_pretrained(folders[0])
    tasks = [load_task(prepare_task(spec, tokenizer, cache_folder())) for spec in data.tasks]
    times = defaultdict(float)
    shares = defaultdict(list)
    with pinned_threads(1):
        for folder in folders:
            model = load_model(folder).eval()
            for task in tasks:
                reference = meta.tasks[task.name]
                references = dict.fromkeys(SPLITS, (reference.teacher, reference.floor))
                for key, each in qualities(model, task, references, options.seeds, times).items():
                    shares[key].append(each)
    print(setting("transformers"), f"{len(folders)} students, {len(tasks)} tasks, {options.seeds} seeds", sep="\n")
    rows, pairs = [], list(itertools.combinations(range(options.seeds), 2))
    for way in ("before", "now"):
        found = np.array(shares[way, "dev"])  # of (student, task), seed, (share, layer)
        quality = found[..., 0].reshape(len(folders), len(tasks), -1).mean(1)
        ranks = np.mean([spearmanr(quality[:, a], quality[:, b]).statistic for a, b in pairs])
        same = np.mean([found[:, a, 1] == found[:, b, 1] for a, b in pairs])
        test = np.array(shares[way, "test"])[..., 0].mean() if (way, "test") in shares else np.nan
        sd, widest = np.sqrt(quality.var(1, ddof=1).mean()), np.ptp(quality, axis=1).max()
        cost = times[way] / options.seeds / times["forward"]
        rows.append([
            way, f"{sd:.4f}", f"{widest:.3f}", f"{ranks:.3f}", f"{same:.0%}", f"{quality.mean():.3f}", f"{test:.3f}",
            f"{cost:.1%}",
        ])  # fmt: skip
    print_table(
        ["choice", "sd", "widest", "ranks", "same layer", "mean dev", "mean test", "choice / forward of train"], rows
    )


if __name__ == "__main__":
    main()
