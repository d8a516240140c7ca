"""A comparative study in numbers: what each method scored on each student, paired tests, and the claims.

Every score is the mean share recovered on the test splits. Two methods are compared by the differences between their
trials of the same student and seed (paired t-test); several comparisons that answer one question are corrected by Holm
(1979). What stands for a method, where it has several rows, is chosen on the dev splits. The claims are those of
Udagawa et al. 2023 (arXiv:2310.08797).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.study.table import StudyTable
from analysis.words import WITHOUT_TEACHER
from spaces.records.noise import LEVEL, pooled_noise
from spaces.students.layer_mapping import MAPPINGS

WORDS = {
    "mapping": "{}",
    "relation_heads": "{:g} heads",
    "teacher_layer": "layer {:g}",
    "temperature": "temperature {:g}",
    "batch_size": "batches of {:g}",
    "initialisation": "{} start",
}
"""How an axis is told in the name of a row, when its method has several values of it; others with their names."""
ALWAYS_TOLD = ("mapping",)
"""Also where its method has one value: it says what a method was."""
ONE_TO_MANY = ("uniform_consecutive", "uniform_last")
CERTAIN = 1 - LEVEL
LEAST_PAIRS = 3


@dataclass(frozen=True)
class Difference:
    """How much better one side is than the other, over the students and seeds that both have."""

    first: str
    second: str
    mean: float
    low: float
    """95 % interval, for this comparison alone"""
    high: float
    p: float
    """two-sided, corrected for the comparisons of its question"""
    pairs: int

    @property
    def sign(self) -> int:
        """1 or -1 where the first is better or worse beyond chance, else 0."""
        return int(np.sign(self.mean)) if self.p < CERTAIN else 0


@dataclass(frozen=True)
class Claim:
    """A claim of the study, and what these trials say of it."""

    text: str
    answer: str
    """yes, no, undecided, or not asked"""
    evidence: tuple[Difference, ...]


def outcomes(study: StudyTable) -> pd.DataFrame:
    """One row per compared trial that finished: `row` (its name in the table), `student`, `seed`, `test`, `dev`.

    `test` is the mean over the tasks that have a test split, and dev quality where none has. Beside them the columns
    of the configuration. Empty when the study is a search.
    """
    seeds = study.meta.comparison.seeds if study.meta.comparison else ()
    rows = study.finished[study.finished["seed"].isin(seeds)]
    scores = study.test_scores
    tested = study.mean_shares(scores, ["trial"])
    rows = rows.assign(
        student=rows["architecture"], dev=rows["quality"], test=rows["trial"].map(tested).fillna(rows["quality"])
    )
    return rows.assign(row=row_names(rows, [column.name for column in study.meta.axes]), cell=_cells(rows))


def row_names(rows: pd.DataFrame, axes: Sequence[str]) -> pd.Series:
    """'hs, uniform', 'mha, 12 heads, layer 5': the method, and the axes of which it has several values.

    axes: those of the study that not every study has.
    """
    words = {**WORDS, **{axis: f"{axis.replace('_', ' ')} {{}}" for axis in axes}}
    names = pd.Series(index=rows.index, dtype=object)
    for method, group in rows.groupby("method"):
        values = {axis: group[axis].nunique() for axis in words}
        varied = [axis for axis, count in values.items() if count > 1 or (count and axis in ALWAYS_TOLD)]
        for index, row in group.iterrows():
            told = [words[axis].format(row[axis]) for axis in varied if not pd.isna(row[axis])]
            names[index] = ", ".join([str(method), *told])
    return names


def _cells(rows: pd.DataFrame) -> pd.Series:
    """What two trials must share to be a pair."""
    keys = list(zip(rows["architecture"], rows["seed"], strict=True))
    return pd.Series(keys, index=rows.index, dtype=object)


def cells(found: pd.DataFrame) -> pd.DataFrame:
    """Mean, 95 % interval (noise pooled over all cells) and seeds of each row (index) and student, as columns.

    Columns: row, student, mean, low, high, seeds; rows by their mean over students, best first.
    """
    groups = {key: group["test"].to_numpy(dtype=float) for key, group in found.groupby(["row", "student"])}
    noise = pooled_noise(groups.values())
    table = [
        (row, student, values.mean(), *noise.interval(float(values.mean()), len(values)), len(values))
        for (row, student), values in groups.items()
    ]
    return pd.DataFrame(table, columns=["row", "student", "mean", "low", "high", "seeds"])


def ranking(found: pd.DataFrame) -> pd.Series:
    """Mean score of each row over the students that all rows have, best first."""
    sets = found.groupby("row")["student"].agg(set)
    common = set.intersection(*sets) if len(sets) else set()
    shared = found[found["student"].isin(common)] if common else found
    means = shared.groupby(["row", "student"])["test"].mean().groupby("row").mean()
    return means.sort_values(ascending=False)


def compare_rows(found: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> tuple[Difference, ...]:
    """Paired differences of (first row, second row), corrected together; those that share too few cells left out."""
    differences = [
        _difference(name_a, name_b, _scores(found, name_a), _scores(found, name_b)) for name_a, name_b in pairs
    ]
    return corrected([each for each in differences if each is not None])


def _scores(found: pd.DataFrame, row: str) -> Mapping[object, float]:
    return found[found["row"] == row].groupby("cell")["test"].mean().to_dict()


def _difference(name_a: str, name_b: str, a: Mapping[object, float], b: Mapping[object, float]) -> Difference | None:
    from scipy import stats

    both = [key for key in a if key in b]
    if len(both) < LEAST_PAIRS:
        return None
    values_N = np.array([a[key] - b[key] for key in both])
    mean, error = float(values_N.mean()), float(values_N.std(ddof=1) / len(values_N) ** 0.5)
    if error == 0.0:
        return Difference(name_a, name_b, mean, mean, mean, float(mean == 0.0), len(both))
    reach = float(stats.t.ppf((1 + LEVEL) / 2, len(both) - 1)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, len(both) - 1))
    return Difference(name_a, name_b, mean, mean - reach, mean + reach, p, len(both))


def corrected(differences: Sequence[Difference]) -> tuple[Difference, ...]:
    """The same with Holm's p: the k-th smallest of m times (m - k + 1), never below the one before."""
    order = sorted(range(len(differences)), key=lambda i: differences[i].p)
    found, floor = list(differences), 0.0
    for k, i in enumerate(order):
        floor = max(floor, min(1.0, (len(order) - k) * differences[i].p))
        found[i] = Difference(**{**vars(differences[i]), "p": floor})
    return tuple(found)


def against_best(found: pd.DataFrame) -> dict[str, Difference]:
    """Every row against the best one: row -> difference of the best row from it."""
    order = list(ranking(found).index)
    differences = compare_rows(found, [(order[0], row) for row in order[1:]]) if order else ()
    return {each.second: each for each in differences}


def claims(study: StudyTable, found: pd.DataFrame) -> tuple[Claim, ...]:
    """What the study says of the claims, where it ran what they are about."""
    best = best_rows(found)
    deepest = study.meta.teacher.architecture.num_layers
    others = [method for method in best if method not in ("mha", *WITHOUT_TEACHER) and "+" not in method]
    mha = found["method"] == "mha"
    upper = _one_row(found[mha & found["teacher_layer"].isin([deepest - 1, deepest - 2])])
    last = _same_but(found, upper, "teacher_layer", [deepest])
    many = _one_row(found[(found["method"] == "hs") & found["mapping"].isin(ONE_TO_MANY)])
    single = _one_row(found[(found["method"] == "hs") & found["mapping"].isin(set(MAPPINGS) - set(ONE_TO_MANY))])
    better = [(best.get(method), best.get("od")) for method in ("mha", "hs") if method in best]
    asked: list[tuple[str, list[tuple[str | None, str | None]]]] = [
        ("MHA transfer is the best method", [(best["mha"], best[other]) for other in others] if "mha" in best else []),
        (f"the teacher's upper-middle layers ({deepest - 2} and {deepest - 1} of {deepest}) are the best to learn "
         "attention from", [(upper, last)]),
        ("hidden-state transfer is best when one student layer learns from several", [(many, single)]),
        ("output distribution transfer lags behind the others", better),
    ]  # fmt: skip
    return tuple(_judge(text, found, pairs) for text, pairs in asked)


def best_rows(found: pd.DataFrame) -> dict[str, str]:
    """The row of each method that has most quality on the dev splits, over the students that its rows share."""
    return {str(method): str(_one_row(group)) for method, group in found.groupby("method")}


def _one_row(rows: pd.DataFrame) -> str | None:
    if rows.empty:
        return None
    sets = rows.groupby("row")["student"].agg(set)
    common = set.intersection(*sets) or set(rows["student"])
    return str(rows[rows["student"].isin(common)].groupby("row")["dev"].mean().idxmax())


def _same_but(found: pd.DataFrame, row: str | None, axis: str, values: Sequence[object]) -> str | None:
    """The row that is the same as another but for one axis."""
    if row is None:
        return None
    like = found[found["row"] == row].iloc[0]
    alike = found[found["method"] == like["method"]]
    for other in WORDS:
        if other != axis:
            alike = alike[(alike[other] == like[other]) | (alike[other].isna() & pd.isna(like[other]))]
    return _one_row(alike[alike[axis].isin(values)])


def _judge(text: str, found: pd.DataFrame, pairs: Sequence[tuple[str | None, str | None]]) -> Claim:
    whole = [(a, b) for a, b in pairs if a is not None and b is not None]
    evidence = compare_rows(found, whole)
    if not evidence or len(evidence) < len(pairs):
        return Claim(text, "not asked", evidence)
    signs = {each.sign for each in evidence}
    return Claim(text, "yes" if signs == {1} else "no" if -1 in signs else "undecided", evidence)


def effects(found: pd.DataFrame) -> pd.DataFrame:
    """How much each factor moved the score: levels, range of their means, share of the variance (main effects)."""
    total = float(((found["test"] - found["test"].mean()) ** 2).sum())
    rows = []
    for name, column in (("method", "method"), ("student", "student"), ("start", "initialisation"), ("seed", "seed")):
        means = found.groupby(column)["test"].mean()
        if len(means) > 1 and total > 0:
            counts = found[column].value_counts().reindex(means.index)
            between = float((counts * (means - found["test"].mean()) ** 2).sum())
            rows.append((name, len(means), float(means.max() - means.min()), between / total))
    return pd.DataFrame(rows, columns=["factor", "levels", "range", "share"])


def tuned(study: StudyTable) -> pd.DataFrame:
    """Dev quality of the trials that chose learning rates: method, initialisation, learning_rate, quality, chosen."""
    seed = study.meta.comparison.tuning_seed if study.meta.comparison else None
    rows = study.finished[study.finished["seed"] == seed] if seed is not None else study.finished[:0]
    kinds = ["method", "initialisation"]
    rows = rows.sort_values([*kinds, "learning_rate"])[[*kinds, "architecture", "learning_rate", "quality"]]
    best = rows.groupby(kinds)["quality"].transform("max") if len(rows) else rows["quality"]
    return rows.assign(chosen=rows["quality"] == best)
