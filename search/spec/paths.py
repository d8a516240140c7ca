"""The paths of a spec: relative ones start from its folder, and $NAME stands for an environment variable."""

import dataclasses
import os
import re
from pathlib import Path

from search.spec.sections import StudySpec, TeacherSection

VARIABLE = re.compile(r"\$\{?(\w+)")


def resolve_paths(spec: StudySpec, folder: Path, problems: list[str]) -> StudySpec:
    """The same spec with absolute paths."""
    problems += unset_variables(spec)
    return dataclasses.replace(
        spec,
        teacher=TeacherSection(resolve_teacher(spec.teacher.path, folder, problems)),
        corpus=dataclasses.replace(spec.corpus, source=_resolve_source(spec.corpus.source, folder)),
        tasks=tuple(dataclasses.replace(t, source=_resolve_source(t.source, folder)) for t in spec.tasks),
        training=dataclasses.replace(
            spec.training, start=spec.training.start and _resolve_source(spec.training.start, folder)
        ),
        search=dataclasses.replace(
            spec.search, warm_start=tuple(_resolve_source(study, folder) for study in spec.search.warm_start)
        ),
    )


def unset_variables(spec: StudySpec) -> list[str]:
    """A problem for each environment variable that a section names and nobody has set."""
    named = {
        "[teacher] path": [spec.teacher.path],
        "[corpus] source": [spec.corpus.source],
        "[[tasks]] source": [task.source for task in spec.tasks],
        "[training] start": [spec.training.start or ""],
        "[search] warm_start": spec.search.warm_start,
    }
    return [
        f"{where}: the environment variable {name} is not set"
        for where, texts in named.items()
        for name in sorted({name for text in texts for name in VARIABLE.findall(os.path.expandvars(text))})
    ]


def resolve_teacher(path: str, folder: Path, problems: list[str]) -> str:
    """A folder that is there as an absolute path; a hub id or a package as it is."""
    path = os.path.expandvars(path)
    if path.startswith("package:") or "://" in path:
        return path
    local = folder / Path(path).expanduser()
    if local.exists():
        return str(local.resolve())
    if path.startswith((".", "/", "~")):
        problems.append(f"[teacher] path: there is no folder {str(local)!r}")
    return path


def _resolve_source(source: str, folder: Path) -> str:
    if source.split(":", 1)[0] in ("docs", "hub", "package") or "://" in source:
        return source
    return str((folder / Path(os.path.expandvars(source)).expanduser()).resolve())
