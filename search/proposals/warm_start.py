"""What earlier studies of the same teacher, corpus and tasks know about the configurations of a new one."""

import json
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from search.samplers.context import Seen
from search.spec.checks import read_spec
from search.spec.sections import StudySpec
from search.spec.writing import differences
from search.store.contents import STUDENTS_TOKENIZER, Contents, differing
from search.store.history import qualities
from search.store.parts import Store
from spaces.errors import InfeasibleConfig, SpecError
from spaces.space.search_space import SearchSpace

COMPARABLE = ("teacher", "corpus", "training", "tasks", "evaluation")
"""Sections in which two studies must agree for a quality of one to say something about the other."""


def refuse_incomparable(spec: StudySpec, contents: Contents | None) -> None:
    """Raise SpecError for every folder of `warm_start` that is no study, or one of something else.

    `contents` are those of the new study, None before they are read: settings are compared all the same. A study that
    keeps no digests is compared by its paths.
    """
    problems: list[str] = []
    for folder in spec.search.warm_start:
        store = Store(folder)
        if not store.is_study():
            problems.append(f"[search] warm_start: {folder} is not a study folder: it has no spec.toml")
            continue
        stored = read_spec(tomllib.loads(store.read_text("spec.toml")), Path("/"), f"{folder}/spec.toml")
        by_content = store.exists("study.json") and bool(store.read_meta().contents)
        settings = differences(stored, spec, by_content=by_content)
        other = [line for line in settings if line.split(":")[0].split(".")[0] in COMPARABLE]
        if by_content and contents is not None:
            wanted = [what for what in (*contents, STUDENTS_TOKENIZER) if not what.startswith("warm start")]
            other += differing(store, contents, list(dict.fromkeys(wanted)))
        if other:
            listed = "".join(f"\n  {line}" for line in other)
            problems.append(f"[search] warm_start: qualities in {folder} cannot be compared with this study:{listed}")
    if problems:
        raise SpecError(problems)


def learn_from(spec: StudySpec, space: SearchSpace, say: Callable[[str], None]) -> list[Seen]:
    """Every quality measured in the studies of `warm_start` for a configuration that the space has.

    Their budgets may differ.
    """
    found: list[Seen] = []
    for folder in spec.search.warm_start:
        store = Store(folder)
        seen, strange = read_study(store, [task.name for task in spec.tasks], space, spec.budget.train_tokens)
        say(
            f"learned {len(seen)} qualities from {folder}"
            + (f"; {strange} trials are outside this space" * bool(strange))
        )
        found += seen
    return found


def read_study(store: Store, tasks: Sequence[str], space: SearchSpace, train_tokens: int) -> tuple[list[Seen], int]:
    """(qualities at rungs and at the end, trials whose configuration the space does not have)."""
    store = Store(store.folder, tasks)
    asked = {row["trial"]: json.loads(row["config"]) for row in store.read_rows("asked")}
    usable = {}
    for trial, config in asked.items():
        try:
            space.check(config)
            usable[trial] = config
        except InfeasibleConfig:
            continue
    reports: dict[int, list] = {}
    for row in store.read_rows("reports"):
        reports.setdefault(row["trial"], []).append(row)
    seen = [
        Seen(usable[trial], tokens / train_tokens, quality)
        for trial in sorted(usable.keys() & reports.keys())
        for tokens, quality in qualities(reports[trial])
    ]
    seen += [
        Seen(usable[row.trial], (row.train_tokens or 0) / train_tokens, row.reached_quality)
        for row in store.read_trials()
        if row.status == "finished" and row.trial in usable
    ]
    return seen, len(asked) - len(usable)
