"""Which student a trial goes on from: the best of its shape that the study has, or of a deeper one of its width.

What a search trains is not thrown away then: weights of a shape are trained further from trial to trial, whatever method
and learning rate each has. The trial itself compares the two starts (trainables/lanes/starting.py): its ancestor's, and
that of its own configuration.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from search.store.history import is_untrained
from spaces.records.rows import TrialRow
from spaces.students.architecture import StudentArchitecture, architecture_of


def ancestor_of(config: Mapping[str, Any], rows: Iterable[TrialRow], seed: int) -> TrialRow | None:
    """The finished trial of this seed whose student a configuration may go on from; None where there is none.

    The best by dev quality of its own shape, and where none has it, of a deeper shape that is the same otherwise. Its
    weights must be kept and must have been trained.
    """
    if is_untrained(config):
        return None
    own = architecture_of(config)
    trained = [row for row in rows if row.seed == seed and row.student_path and row.line_tokens]
    for fits in (same_shape, deeper_shape):
        if found := [row for row in trained if fits(architecture_of(row.config), own)]:
            return max(found, key=lambda row: (row.rank_quality, -row.trial))
    return None


def same_shape(theirs: StudentArchitecture, own: StudentArchitecture) -> bool:
    """Whether all weights of one fit the other."""
    return theirs == own


def deeper_shape(theirs: StudentArchitecture, own: StudentArchitecture) -> bool:
    """Whether those of some of its layers do."""
    return theirs.num_layers > own.num_layers and replace(theirs, num_layers=own.num_layers) == own
