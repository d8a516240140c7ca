"""Which method, mapping and axis made the difference, with the uncertainty that the trials leave.

A cell's interval is a bootstrap of the mean over its students (95 %, noise.py): it speaks of the configurations
that the search happened to try, not of seeds alone, and a sampler that learns tries good corners more often. Importance
is Optuna's: PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255), which handles axes that only some trials have, or
fANOVA (Hutter et al. 2014), which does not and therefore sees one branch of the space at a time.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from analysis.selection.front import aim, costs_of
from analysis.study.table import StudyTable
from spaces.errors import choose
from spaces.records.noise import mean_interval
from spaces.students.transfer import UNTRAINED

LEAST_TRIALS, MOST_TRIALS = 10, 1000
MOST_CHOICES = 8
"""Numbers with more distinct values than this were drawn from a range."""
LEAST_VALUES = 3
"""Two values of a cell span an interval of Student's t that says nothing."""
EVALUATORS: dict[str, Callable[[], "optuna.importance.BaseImportanceEvaluator"]] = {
    "ped_anova": lambda: optuna.importance.PedAnovaImportanceEvaluator(),
    "fanova": lambda: optuna.importance.FanovaImportanceEvaluator(seed=0),
}
"""Made when they are used: the module loads scikit-learn, and the front does without."""


def compare(study: StudyTable, by: Sequence[str]) -> pd.DataFrame:
    """Quality of the students per group: n, best, mean, low, high, and the number of the best one's trial.

    It is what their training led to (`as_trained`). Students that lack one of the columns `by` (NaN) are left out.
    """
    rows = study.as_trained[study.as_trained["quality"].notna()]
    table = []
    for key, group in rows.groupby(list(by), sort=True):
        quality_N = group["quality"].to_numpy(dtype=float)
        low, high = mean_interval(quality_N) if len(quality_N) >= LEAST_VALUES else (np.nan, np.nan)
        best = group.loc[group["quality"].idxmax(), "trial"]
        table.append((*key, len(group), quality_N.max(), quality_N.mean(), low, high, best))
    return pd.DataFrame(table, columns=[*by, "n", "best", "mean", "low", "high", "best_trial"])


def method_by_architecture(study: StudyTable) -> pd.DataFrame:
    """One row per method and architecture that finished at least once, smallest architecture first."""
    table = compare(study, ["method", "architecture"])
    sizes = study.finished.groupby("architecture")["parameters"].min()
    table = table.assign(parameters=table["architecture"].map(sizes))
    return table.sort_values(["parameters", "method"], ignore_index=True)


def compare_mappings(study: StudyTable) -> pd.DataFrame:
    """One row per layer mapping of the hidden-state trials, best mean first."""
    return compare(study, ["mapping"]).sort_values("mean", ascending=False, ignore_index=True)


def failures(study: StudyTable) -> pd.DataFrame:
    """Failed and infeasible trials by reason: status, reason, n, first_trial; most frequent first."""
    rows = study.trials[study.trials["status"].isin(["failed", "infeasible"])]
    rows = rows.assign(reason=rows["reason"].fillna("").replace("", "no reason recorded"))
    table = rows.groupby(["status", "reason"])["trial"].agg(n="size", first_trial="min").reset_index()
    return table.sort_values(["n", "first_trial"], ascending=[False, True], ignore_index=True)


def axis_importance(study: StudyTable, method: str | None = None, evaluator: str = "ped_anova") -> pd.DataFrame | None:
    """Share of importance per axis (rows) and objective (columns), most important for the first objective first.

    `method` keeps to one branch of the conditional space. None below 10 finished trials; of more than 1,000, an even
    sample. What never varied is left out, and so are heads and feed-forward width where depth and width decide them.
    """
    make = choose("importance evaluator", EVALUATORS, evaluator)
    objectives, rows = aim(study).objectives, study.finished
    rows = rows[rows["method"] != UNTRAINED] if method is None else rows[rows["method"] == method]
    rows = rows[np.isfinite(costs_of(rows, objectives)).all(axis=1)]
    if len(rows) > MOST_TRIALS:
        rows = rows.iloc[np.linspace(0, len(rows) - 1, MOST_TRIALS).astype(int)]
    distributions = _distributions(rows, study.meta.config_columns)
    if len(rows) < LEAST_TRIALS or not distributions:
        return None
    scratch = _quiet_study(len(objectives))
    for params, cost_K in zip(_params(rows, distributions), costs_of(rows, objectives), strict=True):
        used = {axis: distributions[axis] for axis in params}
        scratch.add_trial(optuna.trial.create_trial(params=params, distributions=used, values=list(cost_K)))
    axes = list(distributions)
    varied = [(k, o) for k, o in enumerate(objectives) if rows[o.column].nunique() > 1]
    table = {objective.name: _importances(scratch, axes, k, make()) for k, objective in varied}
    if not table:
        return None
    return pd.DataFrame(table).sort_values(next(iter(table)), ascending=False)


def importance_by_branch(study: StudyTable) -> dict[str, pd.DataFrame]:
    """`axis_importance` within each method that ran often enough, the most frequent first."""
    methods = study.finished["method"].value_counts().index.drop(UNTRAINED, errors="ignore")
    if len(methods) < 2:
        return {}
    tables = {method: axis_importance(study, method) for method in methods}
    return {method: table for method, table in tables.items() if table is not None}


def _importances(
    scratch: optuna.Study, axes: list[str], k: int, evaluator: "optuna.importance.BaseImportanceEvaluator"
) -> dict[str, float]:
    def cost(trial: optuna.trial.FrozenTrial) -> float:
        return trial.values[k]

    with warnings.catch_warnings():  # PED-ANOVA reminds that lower must be better; here it is
        warnings.filterwarnings("ignore", "PedAnovaImportanceEvaluator computes")
        return optuna.importance.get_param_importances(scratch, evaluator=evaluator, params=axes, target=cost)


def _quiet_study(num_objectives: int) -> optuna.Study:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(directions=["minimize"] * num_objectives)
    finally:
        optuna.logging.set_verbosity(before)


def varying_axes(rows: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """The axes among these columns that vary; heads and feed-forward width only where the shape leaves them open."""
    by_shape = rows.groupby(["num_layers", "hidden_size"])
    found = []
    for axis in columns:
        values = rows[axis].dropna()
        follows = axis in ("num_heads", "intermediate_size") and (by_shape[axis].nunique() <= 1).all()
        if values[values != ""].nunique() > 1 and not follows:
            found.append(axis)
    return found


def _distributions(rows: pd.DataFrame, columns: Sequence[str]) -> dict[str, BaseDistribution]:
    found: dict[str, BaseDistribution] = {}
    for axis in varying_axes(rows, columns):
        values = rows[axis].dropna()
        if pd.api.types.is_float_dtype(values) and values.nunique() > MOST_CHOICES:
            found[axis] = FloatDistribution(float(values.min()), float(values.max()), log=values.min() > 0)
        else:
            found[axis] = CategoricalDistribution(sorted(values[values != ""].unique().tolist()))
    return found


def _params(rows: pd.DataFrame, distributions: dict[str, BaseDistribution]) -> list[dict[str, object]]:
    axes = list(distributions)
    records = zip(*(rows[axis].tolist() for axis in axes), strict=True)
    return [{a: v for a, v in zip(axes, record, strict=True) if not pd.isna(v) and v != ""} for record in records]
