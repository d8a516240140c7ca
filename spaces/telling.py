"""Lines for a person: short numbers, durations, and how far a long loop is."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Say = Callable[[str], None]
"""Tell a person one line."""
PROGRESS_EVERY_S = 15.0
T = TypeVar("T")


def quiet(line: str) -> None:
    """Say nothing."""


def short(value: float | None, digits: int = 3) -> str:
    """3.2M, 950k, 0.713, or - for nothing."""
    if value is None:
        return "-"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.1f}{letter}"
    return f"{value:.{digits}f}"


def duration(seconds: float) -> str:
    """45 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def counted(steps: Sequence[str], say: Say) -> Say:
    """Tells each of these steps as it begins: '[2/5] corpus and tasks: docs'. Call it once for each, in their order."""
    names = iter(enumerate(steps, 1))

    def begin(what: str) -> None:
        number, name = next(names)
        say(f"[{number}/{len(steps)}] {name}: {what}")

    return begin


def announced(
    items: Sequence[T],
    what: str,
    say: Say,
    *,
    sizes: Sequence[float] = (),
    expected_s: float = 0.0,
    later_s: float = 0.0,
) -> Iterator[T]:
    """Items one after the other; now and then a line says how many are done, and how long the others will take.

    sizes: how long each takes against the others; without, all the same. expected_s: what all of them take, as far as
    that is known before the first has been seen; told at once where it is long. later_s: what else there is to do
    before the first trial, which is then told as well.
    """
    sizes = sizes or [1.0] * len(items)
    started = said = time.time()

    def tell(done: int, left_s: float) -> None:
        whole = f", {duration(left_s + later_s)} until the first trial" if later_s else ""
        say(f"{what.format(f'{done} of {len(items)}')}, about {duration(left_s)} left{whole}")

    if items and expected_s > PROGRESS_EVERY_S:
        tell(0, expected_s)
    for done, item in enumerate(items):
        now = time.time()
        if done and now - said > PROGRESS_EVERY_S:
            said = now
            tell(done, (now - started) / sum(sizes[:done]) * sum(sizes[done:]))
        yield item
