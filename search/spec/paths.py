"""The paths of a spec: relative ones start from its folder, and $NAME stands for an environment variable."""

import copy
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = re.compile(r"\$\{?(\w+)")
PATHS = (
    ("teacher", "path"),
    ("student", "tokenizer"),
    ("corpus", "source"),
    ("corpus", "queries"),
    ("corpus", "supplement"),
    ("training", "start"),
    ("search", "warm_start"),
)
"""(section, key) of the paths; each task has a `source` as well."""


def resolve_paths(values: dict[str, Any], folder: Path, problems: list[str]) -> None:
    """Make the paths among the sound values of a spec absolute; those that cannot be are sound no more."""
    for section, key in PATHS:
        if values[section].get(key) is not None:
            _resolve(f"[{section}] {key}", values[section], key, folder, problems)
    for task in values.get("tasks", ()):
        if "source" in task:
            _resolve("[[tasks]] source", task, "source", folder, problems)


def refuse_absent_teacher(values: dict[str, Any], problems: list[str]) -> None:
    """The folder of a teacher must be there; one that is not is sound no more. A stored spec is read without it."""
    path = values["teacher"].get("path", "")
    if path.startswith("/") and not Path(path).exists():
        problems.append(f"[teacher] path: there is no folder {values['teacher'].pop('path')!r}")


def moved(table: Mapping[str, Any], was: str, now: str) -> dict[str, Any]:
    """The table of a spec whose study folder was moved along with what it names: paths that lead nowhere any more.

    What the old and the new place of the folder have in common at their ends moved as one; the rest of a path is kept.
    """
    old, new = list(Path(was).parts), list(Path(now).parts)
    while len(old) > 1 and len(new) > 1 and old[-1] == new[-1]:
        del old[-1], new[-1]
    before, after = Path(*old), Path(*new)

    def follow(path: Any) -> Any:
        if isinstance(path, list):
            return [follow(each) for each in path]
        if not isinstance(path, str) or not Path(path).is_relative_to(before) or Path(path).exists():
            return path
        there = after / Path(path).relative_to(before)
        return str(there) if there.exists() or there.parent.exists() else path

    found = copy.deepcopy(dict(table))
    for section, key in PATHS:
        if key in found.get(section, {}):
            found[section][key] = follow(found[section][key])
    for task in found.get("tasks", ()):
        if "source" in task:
            task["source"] = follow(task["source"])
    return found


def _resolve(where: str, section: dict[str, Any], key: str, folder: Path, problems: list[str]) -> None:
    written = section.pop(key)
    paths = [written] if isinstance(written, str) else written
    if unset := sorted({name for path in paths for name in VARIABLE.findall(os.path.expandvars(path))}):
        found = [f"{where}: the environment variable {name} is not set" for name in unset]
        problems += [problem for problem in found if problem not in problems]
        return
    if where in ("[teacher] path", "[student] tokenizer"):
        section[key] = resolve_model(written, folder)
        return
    resolved = [resolve_source(path, folder) for path in paths]
    section[key] = resolved[0] if isinstance(written, str) else tuple(resolved)


def resolve_model(path: str, folder: Path) -> str:
    """A folder as an absolute path, where it is there or cannot be a hub id; a hub id or a package as it is."""
    path = os.path.expandvars(path)
    if path.startswith("package:") or "://" in path:
        return path
    local = folder / Path(path).expanduser()
    return str(local.resolve()) if local.exists() or path.startswith((".", "/", "~")) else path


def resolve_source(source: str, folder: Path) -> str:
    """What names no place on a disk as it is, everything else as an absolute path."""
    if source.split(":", 1)[0] in ("docs", "hub", "package"):
        return source
    expanded = os.path.expandvars(source)
    return expanded if "://" in expanded else str((folder / Path(expanded).expanduser()).resolve())
