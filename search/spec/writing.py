"""A spec back to TOML, as it lies beside the results; and what makes two specs different studies."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import tomli_w

from search.spec.paths import PATHS
from search.spec.reading import show
from search.spec.sections import StudySpec

NO_IDENTITY = (
    "cluster",
    "logging",
    "storage",
    "budget.trials",
    "budget.hours",
    "budget.cost",
    "search.schedule",
    "search.stop_when",
    "search.try_first",
    "search.prior",
    "name",
    "training.checkpoint_every_s",
    "deploy.tolerance",
    "targets.mode",
    "targets.quota_gb",
)
"""What may change between the runs of one study: where it runs and how long, never what a trial is."""


def to_table(spec: StudySpec) -> dict[str, Any]:
    """The resolved spec as a plain table, without the fields that are unset."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: plain(v) for k, v in value.items() if v is not None}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        return value

    return plain(dataclasses.asdict(spec))


def to_toml(spec: StudySpec) -> str:
    """The resolved spec as TOML that `read_spec` accepts again."""
    return tomli_w.dumps(to_table(spec))


def differences(stored: StudySpec, wanted: StudySpec, *, by_content: bool = False) -> list[str]:
    """Every setting that makes two specs different studies, as `key: stored there, wanted here`.

    by_content: paths do not count, for what they lead to is compared.
    """
    left, right = _identity(stored, by_content), _identity(wanted, by_content)
    return [
        f"{key}: {show(left.get(key))} in the study, {show(right.get(key))} in the spec"
        for key in sorted(set(left) | set(right))
        if left.get(key) != right.get(key)
    ]


def _identity(spec: StudySpec, by_content: bool) -> dict[str, Any]:
    table = copy.deepcopy(to_table(spec))
    if by_content:
        for section, key in PATHS:
            table[section].pop(key, None)
        for task in table["tasks"]:
            del task["source"]
    flat: dict[str, Any] = {}
    for section, value in table.items():
        if isinstance(value, dict):
            flat |= {f"{section}.{key}": v for key, v in value.items()}
        else:
            flat[section] = value
    return {k: v for k, v in flat.items() if k not in NO_IDENTITY and k.partition(".")[0] not in NO_IDENTITY}
