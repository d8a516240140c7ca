"""The errors of the whole tool, and the one way to look a name up.

Three kinds of failure, treated differently: a spec that cannot be run (SpecError: stop before anything starts), a
configuration that cannot be built (InfeasibleConfig: told to the sampler, costs nothing), a trial that went wrong
(TrialFailed: a row with its reason). Anything else is a bug and stops the study.
"""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest known name, or "" when nothing is close."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def unknown(kind: str, known: Collection[str], name: str) -> str:
    """The problem with a name that is not known: the nearest and all known names."""
    return f"unknown {kind} {name!r}.{nearest(name, known)} Known: {', '.join(sorted(known))}"


def choose(kind: str, table: Mapping[str, T], name: str) -> T:
    """Look `name` up in a registry; an unknown name raises SpecError with the nearest and all known names."""
    if name in table:
        return table[name]
    raise SpecError([unknown(kind, table, name)])


class StillhouseError(Exception):
    """An error meant for a person: its text says what to change."""


class SpecError(StillhouseError):
    """Everything that is wrong with an input, all of it at once."""

    def __init__(self, problems: Sequence[str], source: str | None = None) -> None:
        self.problems = tuple(problems)
        self.source = source
        super().__init__(self.problems, source)

    def __str__(self) -> str:
        where = f"{self.source}: " if self.source else ""
        if len(self.problems) == 1:
            return where + self.problems[0]
        lines = "".join(f"\n  {number}. {problem}" for number, problem in enumerate(self.problems, 1))
        return f"{where}{len(self.problems)} problems:{lines}"


class InfeasibleConfig(StillhouseError):
    """A configuration that no student can be built from, or that the teacher cannot serve."""


class TrialFailed(StillhouseError):
    """A trial that started and could not finish (diverged, out of memory): recorded as a row, never retried."""
