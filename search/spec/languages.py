"""Tasks in several languages: one entry of a spec becomes one task for each."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainables.tasks.spec import TaskSpec

MARK = "{language}"


def by_language(entries: Sequence[Mapping[str, Any]], problems: list[str]) -> list[dict[str, Any]]:
    """The entries with each that names `languages` replaced by one for each of them, NAME_LANG of `language` LANG."""
    found: list[dict[str, Any]] = []
    for number, entry in enumerate(entries, 1):
        where = f"[[tasks]] {entry.get('name', f'number {number}')}"
        source, languages = entry.get("source"), entry.get("languages")
        source = source if isinstance(source, str) else ""  # what else it may be is for others to say
        marked = MARK in source
        if languages is None:
            if marked:
                problems.append(f'{where} source: {MARK} needs languages, such as languages = ["en", "de"]')
            found.append(dict(entry))
            continue
        if not isinstance(languages, list) or not languages or not all(isinstance(each, str) for each in languages):
            problems.append(f'{where} languages must be a list of codes such as ["en", "de"], got {languages!r}')
        elif twice := sorted({each for each in languages if languages.count(each) > 1}):
            problems.append(f"{where} languages names {', '.join(twice)} more than once")
        elif "language" in entry:
            problems.append(f"{where}: either language or languages, not both")
        elif not marked:
            problems.append(f"{where} source must hold {MARK}, since the task has languages; got {source!r}")
        else:
            shared = {key: value for key, value in entry.items() if key != "languages"}
            found += [
                {
                    **shared,
                    "name": f"{entry.get('name')}_{each}",
                    "language": each,
                    "source": source.replace(MARK, each),
                }
                for each in languages
            ]
            continue
        found.append({key: value for key, value in entry.items() if key != "languages"})
    return found


def languages_of(tasks: Sequence[TaskSpec]) -> dict[str, str]:
    """The language of each task that has one."""
    return {task.name: task.language for task in tasks if task.language is not None}
