"""How far shares of the teacher's gain can be trusted: the number of examples, and the noise between seeds.

Both are independent, so their errors add up as squares. Students of one study are scored on the same examples: what
tells two of them apart is the noise between seeds alone (`low` and `high`), what tells one from the teacher is both.
"""

from collections.abc import Mapping

import pandas as pd

from spaces.records.meta import TaskMeta
from spaces.records.shares import NORMAL_95, joined, mean_error


def with_share_intervals(students: pd.DataFrame, tasks: Mapping[str, TaskMeta]) -> pd.DataFrame:
    """Students with `error_TASK`, `share_low` and `share_high` (StudyTable.students)."""
    errors = pd.DataFrame(
        {f"error_{name}": [task.gap.share_error(score) for score in students[f"score_{name}"]]
         for name, task in tasks.items()}, index=students.index, dtype=float,
    )  # fmt: skip
    weights = {f"error_{name}": task.weight for name, task in tasks.items()}
    means_N = [mean_error(row, weights) for row in errors.to_dict("records")]
    reach = NORMAL_95 * pd.Series(means_N, students.index, dtype=float)
    low, high = students["quality"] - students["low"], students["high"] - students["quality"]
    students = students.assign(
        share_low=students["quality"] - joined(reach, low), share_high=students["quality"] + joined(reach, high)
    )
    return pd.concat([students, errors], axis=1)
