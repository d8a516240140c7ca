"""Settings given on the command line: `--set budget.trials=40` on top of the table of a spec, before it is checked."""

import copy
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from spaces.errors import SpecError, nearest


def changed(table: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """The table with each `KEY=VALUE` put into it; SpecError with every change that cannot be read.

    A key is `section.key`, a top-level key, or `tasks.NAME.key`. A value is read as TOML, and as text where it is none.
    """
    result, problems = copy.deepcopy(dict(table)), list[str]()
    for change in changes:
        key, equals, value = change.partition("=")
        names = key.strip().split(".")
        if not equals or not all(names):
            problems.append(f"--set {change!r}: must be KEY=VALUE, such as budget.trials=40")
            continue
        place: Any = result
        if names[0] == "tasks" and len(names) == 3:
            tasks = {str(task.get("name")): task for task in table_list(result.get("tasks"))}
            if names[1] not in tasks:
                known = ", ".join(tasks)
                problems.append(f"--set {change!r}: no task {names[1]!r}.{nearest(names[1], tasks)} Known: {known}")
                continue
            place = tasks[names[1]]
        elif len(names) == 2:
            place = result.setdefault(names[0], {})
        elif len(names) != 1:
            problems.append(f"--set {change!r}: a key is section.key or tasks.NAME.key")
            continue
        if not isinstance(place, dict):
            problems.append(f"--set {change!r}: {'.'.join(names[:-1])} is no table")
            continue
        place[names[-1]] = read_value(value.strip())
    if problems:
        raise SpecError(problems)
    return result


def table_list(value: Any) -> list[dict[str, Any]]:
    """The tables of a list; what is none is left to the checks."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def read_value(text: str) -> Any:
    """40, 1e-3, true, ["hs", "mha"], 'text'; a bare word is a text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
