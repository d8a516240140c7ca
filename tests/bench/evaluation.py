"""What a score by the probe costs: the forward passes, the fits, and a test score after a dev score.

Three ways to the same score: fits by scikit-learn, by the product, and by the product on features in bfloat16 (on a
processor that multiplies it, this is what a study does). Time, the layers that are chosen, scores, and the order of the
students. Students are those of a study on the embedded teacher.

    python tests/bench/evaluation.py studies/quick            # some minutes for the 36 students of `make search`
    python tests/bench/evaluation.py studies/quick --most 12
"""

import argparse
import statistics
import time
import warnings
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from starts import TASKS
from timing import print_table, setting

from trainables.cache import cache_folder
from trainables.machine import pinned_threads
from trainables.models.encoder import architecture
from trainables.models.loading import load_model
from trainables.models.teacher import load_teacher
from trainables.tasks.data import Split
from trainables.tasks.kind import Terms
from trainables.tasks.kinds import KINDS
from trainables.tasks.protocols.linear import Fit
from trainables.tasks.protocols.probe import best_fit, fitted_part, task_features
from trainables.tasks.protocols.solvers import NO_CLASSES, Layer
from trainables.tasks.scoring import TaskData, load_task, prepare_task

WAYS = ("scikit-learn", "fp32", "bf16")


def by_sklearn(x_NF: np.ndarray, labels_N: np.ndarray, strength: float) -> Layer:
    """The same objectives, by scikit-learn."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if labels_N.dtype.kind == "f":
        model: Any = Ridge(alpha=1.0 / strength)
    else:
        model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x_NF, labels_N)
    classes = getattr(model, "classes_", NO_CLASSES)
    return Layer(np.atleast_2d(model.coef_).T, np.atleast_1d(model.intercept_), classes, True)


def scored(model: Any, task: TaskData, times: dict[str, float]) -> dict[str, tuple[float, int]]:
    """(dev score, layer) by each way to fit; seconds are added to `times`."""
    run = KINDS[task.kind].protocols["probe"].run
    features, head = run.keywords["features"], run.keywords["head"]  # type: ignore[attr-defined]
    terms = Terms(task.metric, 0)
    train, order = fitted_part(task, terms.seed, run.keywords.get("max_labels"))  # type: ignore[attr-defined]

    def clocked(name: str, call: Any) -> Any:
        started = time.process_time()
        found = call()
        times[name] += time.process_time() - started
        return found

    def read(split: Split, layers: list[int] | None, bf16: bool) -> np.ndarray:
        name = "all layers" if layers is None else "one layer"
        return clocked(
            f"{name}{' in bf16' * bf16}", lambda: task_features(model, task, split, features, layers, bf16=bf16)
        )

    train_LNF = {bf16: read(train, None, bf16) for bf16 in (False, True)}
    found = {}
    for name, way, bf16 in (
        ("scikit-learn", replace(head, linear=by_sklearn), False), ("fp32", head, False), ("bf16", head, True)
    ):  # fmt: skip
        fit: Fit = clocked(
            name,
            lambda way=way, bf16=bf16: best_fit(
                model, task, train, order, terms, lambda split, read: train_LNF[bf16], way
            ),
        )
        own = task.splits["dev"]
        dev_LNF = (
            read(own, [fit.layer], bf16) if way is head else task_features(model, task, own, features, [fit.layer])
        )
        found[name] = task.metric.function(own.labels, fit.predict(dev_LNF[0]), task.label_names), fit.layer
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--most", type=int, default=1000, help="students at most, spread over the study")
    options = parser.parse_args()
    import sklearn.linear_model  # noqa: F401 - its import, a second, is no fit

    tokenizer = load_teacher("package:trainables/embedded_teacher").tokenizer
    asked = [replace(task, max_dev=1000 if task.max_train == 2000 else 500, max_test=500) for task in TASKS]
    tasks = [load_task(prepare_task(task, tokenizer, cache_folder())) for task in asked]
    folders = sorted((options.study / "students").iterdir())
    folders = [folders[i] for i in np.unique(np.linspace(0, len(folders) - 1, options.most).astype(int))]
    by_shape: dict[str, list[dict[str, float]]] = defaultdict(list)
    scores: dict[str, list[float]] = {way: [] for way in WAYS}
    every: dict[str, list[tuple[float, int]]] = {way: [] for way in WAYS}
    with pinned_threads(1):
        for folder in folders:
            model, times = load_model(folder).eval(), defaultdict(float)
            found = [scored(model, task, times) for task in tasks]
            by_shape[architecture(model.config).name].append(times)
            for name, means in scores.items():
                means.append(statistics.mean(each[name][0] for each in found))
                every[name] += [each[name] for each in found]
    print(setting("transformers", "scikit-learn"))
    rows = []
    for shape, each in by_shape.items():
        mean = {name: statistics.median(times[name] for times in each) for name in each[0]}
        forward, quick = (mean[f"all layers{way}"] + mean[f"one layer{way}"] for way in ("", " in bf16"))
        rows.append([
            shape, len(each), f"{forward:.2f}", f"{quick:.2f}", f"{forward / quick:.1f}", f"{mean['scikit-learn']:.2f}",
            f"{mean['fp32']:.2f}", f"{mean['fp32'] / (forward + mean['fp32']):.0%}",
            f"{mean['bf16'] / (quick + mean['bf16']):.0%}",
        ])  # fmt: skip
    columns = ["shape", "students", "forward s", "in bf16", "fp32 / bf16", "fits by scikit-learn s", "fits s"]
    print_table([*columns, "fits of all", "in bf16"], rows)
    print()
    for way, other in (("fp32", "scikit-learn"), ("bf16", "fp32")):
        moved = [abs(own[0] - its[0]) for own, its in zip(every[way], every[other], strict=True)]
        same = [own[1] == its[1] for own, its in zip(every[way], every[other], strict=True)]
        print(
            f"{way} after {other}, {len(moved)} scores: the same layer in {np.mean(same):.1%}, moved by "
            f"{np.mean(moved):.4f} on the mean, at most {max(moved):.4f}; {np.mean(np.array(moved) <= 0.005):.0%} by "
            f"0.005 or less; rank correlation of the students {spearmanr(scores[way], scores[other]).statistic:.4f}"
        )


if __name__ == "__main__":
    main()
