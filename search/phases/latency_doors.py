"""Whether latencies can be measured on this machine, now, where a study decides by them: else it is refused.

One thread on a CPU is timed by its own CPU clock and settles on a busy machine too. Several threads wait for one
another: with fewer idle cores than threads a pass takes many times what it takes on an idle machine, and always alike.
"""

from collections.abc import Mapping
from typing import Any

from search.spec.reading import Unsound
from search.spec.sections import StudySpec
from spaces.errors import SpecError
from spaces.records.costs import LATENCY
from spaces.records.latency import REFUSED, STEADY, LatencySpec
from spaces.records.objectives import is_named
from trainables.export.timing import unsettled, works_alone
from trainables.machine import own_cores

WAY_OUT = "or leave latency_ms out of [search] and measure it on another machine (stillhouse profile)"


def look_at_latency(draft: Any, problems: list[str], lines: list[str]) -> None:
    """Time a fixed piece of work on the threads of `[latency]`; a wait that is to be told goes to `lines`."""
    try:
        decides = is_named(LATENCY, (*draft.search.objectives, *draft.search.constraints))
        latency = LatencySpec(draft.latency.device, draft.latency.threads)
        if latency.device != "cpu" or works_alone(latency.threads, latency.device) or not decides:
            return
    except Unsound:
        return
    what, cores = f"[latency] threads {latency.threads}", own_cores()
    if latency.threads > cores:
        problems.append(f"{what}: at most {cores}, the cores of this machine: --set latency.threads={cores}; {WAY_OUT}")
        return
    moved = unsettled(latency)
    if moved > REFUSED:
        problems.append(
            f"{what}: a fixed piece of work moves by {moved:.0%} (at most {REFUSED:.0%}), since other programs have "
            f"the cores: latencies would be those of a busy machine. --set latency.threads=1, whose time does not "
            f"count what it waits; or end the others; {WAY_OUT}"
        )
    elif moved > STEADY:
        lines.append(
            f"warning: {what}: a fixed piece of work moves by {moved:.0%}, since other programs have the cores: "
            "latencies may be guesses, and are marked where they are"
        )


def refuse_unsettled(spec: StudySpec, costs: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises SpecError with each latency (costs by what was measured) that moved too much to decide by it."""
    if not is_named(LATENCY, (*spec.search.objectives, *spec.search.constraints)):
        return
    threads = spec.latency.threads
    alone = works_alone(threads, spec.latency.device)
    fewer = "" if alone or spec.latency.device != "cpu" else "--set latency.threads=1; "
    problems = [
        f"[latency] threads {threads}: the latency of {whose} moved by {LATENCY.moved(row):.0%} while it was measured, "
        f"again and again (at most {REFUSED:.0%}): the machine is busy, and no study decides by such a number. "
        f"{fewer}or the same command on an idle machine, which goes on from here; {WAY_OUT}"
        for whose, row in costs.items()
        if LATENCY.is_refused(row)
    ]
    if problems:
        raise SpecError(problems)
