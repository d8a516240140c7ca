"""The paths of a spec: relative ones start from its folder, and $NAME stands for an environment variable."""

import os
import re
from pathlib import Path
from typing import Any

VARIABLE = re.compile(r"\$\{?(\w+)")
PATHS = (("teacher", "path"), ("corpus", "source"), ("training", "start"), ("search", "warm_start"))
"""(section, key) of the paths; each task has a `source` as well."""


def resolve_paths(values: dict[str, Any], folder: Path, problems: list[str]) -> None:
    """Make the paths among the sound values of a spec absolute; those that cannot be are sound no more."""
    for section, key in PATHS:
        if values[section].get(key) is not None:
            _resolve(f"[{section}] {key}", values[section], key, folder, problems)
    for task in values.get("tasks", ()):
        if "source" in task:
            _resolve("[[tasks]] source", task, "source", folder, problems)


def _resolve(where: str, section: dict[str, Any], key: str, folder: Path, problems: list[str]) -> None:
    written = section.pop(key)
    paths = [written] if isinstance(written, str) else written
    if unset := sorted({name for path in paths for name in VARIABLE.findall(os.path.expandvars(path))}):
        found = [f"{where}: the environment variable {name} is not set" for name in unset]
        problems += [problem for problem in found if problem not in problems]
        return
    if where == "[teacher] path":
        section[key] = resolve_teacher(written, folder)
        if section[key].startswith((".", "/", "~")) and not Path(section[key]).exists():
            problems.append(f"{where}: there is no folder {str(folder / Path(section.pop(key)).expanduser())!r}")
        return
    resolved = [resolve_source(path, folder) for path in paths]
    section[key] = resolved[0] if isinstance(written, str) else tuple(resolved)


def resolve_teacher(path: str, folder: Path) -> str:
    """A folder that is there as an absolute path; a hub id or a package as it is."""
    path = os.path.expandvars(path)
    if path.startswith("package:") or "://" in path:
        return path
    local = folder / Path(path).expanduser()
    return str(local.resolve()) if local.exists() else path


def resolve_source(source: str, folder: Path) -> str:
    """What names no place on a disk as it is, everything else as an absolute path."""
    if source.split(":", 1)[0] in ("docs", "hub", "package") or "://" in source:
        return source
    return str((folder / Path(os.path.expandvars(source)).expanduser()).resolve())
