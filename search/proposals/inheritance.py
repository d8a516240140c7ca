"""Which student a trial goes on from: the best of its shape that the study has, or of a deeper one of its width.

What a search trains is not thrown away then: weights of a shape are trained further from trial to trial, whatever
method and learning rate each has. The trial itself compares two starts (trainables/lanes/starting.py): its ancestor's
weights, and those that its own configuration says.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from search.proposals.leaders import leading
from search.store.history import History, Wanted, is_untrained
from spaces.records.objectives import Aim
from spaces.records.rows import TrialRow
from spaces.students.architecture import StudentArchitecture, architecture_of

Best = Mapping[StudentArchitecture, TrialRow]


def best_of_shapes(rows: Iterable[TrialRow], seed: int) -> Best:
    """Of each shape the finished trial of this seed that is best by dev quality, among those whose student was trained
    and is kept."""
    found: dict[StudentArchitecture, TrialRow] = {}
    for row in rows:
        if row.seed == seed and row.status == "finished" and row.student_path and row.line_tokens:
            shape = architecture_of(row.config)
            found[shape] = max(found.get(shape, row), row, key=lambda each: (each.rank_quality, -each.trial))
    return found


def ancestor_of(config: Mapping[str, Any], best: Best) -> TrialRow | None:
    """The trial whose student a configuration may go on from: of its own shape, or else of a deeper one that is the
    same otherwise; None where there is none."""
    if is_untrained(config):
        return None
    own = architecture_of(config)
    if own in best:
        return best[own]
    deeper = [best[shape] for shape in best if is_deeper(shape, own)]
    return max(deeper, key=lambda row: (row.rank_quality, -row.trial), default=None)


def is_deeper(theirs: StudentArchitecture, own: StudentArchitecture) -> bool:
    """Whether the layers of one shape fit another, which has fewer."""
    return theirs.num_layers > own.num_layers and replace(theirs, num_layers=own.num_layers) == own


def generation(history: History, parent: int | None) -> int:
    """Of a trial that goes on from another; 0 without one."""
    found = 0
    while parent is not None:
        found, parent = found + 1, history.tally.by_trial[parent].parent
    return found


def tokens_before(history: History, trial: int) -> int:
    """Tokens that the student of an asked trial came through before its first step, if it goes on from its parent."""
    row, parent = history.tally.by_trial.get(trial), history.asked[trial].get("parent")
    if row is not None and row.status == "finished":
        return row.ancestor_tokens or 0
    return 0 if parent is None else history.tally.by_trial[parent].line_tokens or 0


def continued(rows: Sequence[TrialRow], aim: Aim, seed: int, known: Container[str]) -> Wanted | None:
    """The member of the front that is trained on next at the end of a search; None when each that could be was.

    known: hashes of what was asked for. The one that has trained on the fewest tokens comes first, and of several that
    which adds most to the front. A start that was never trained has nothing to go on from.
    """
    own = [row for row in rows if row.seed == seed]
    members = [leader.row for leader in leading(own, aim, len(own)) if leader.on_front and leader.row.student_path]
    wanted = [(row.line_tokens or 0, Wanted(row.config, seed, row.owner)) for row in members]
    fresh = [each for each in wanted if each[1].digest not in known]
    return min(fresh, key=lambda each: each[0])[1] if fresh else None
