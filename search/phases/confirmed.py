"""What is known of a trial's configuration over all of its seeds, for its card."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from search.store.history import is_untrained
from spaces.records.fronts import configuration
from spaces.records.meta import StudyMeta
from spaces.records.noise import pooled_noise
from spaces.records.rows import STUDENTS, TrialRow
from spaces.records.shares import NORMAL_95, joined, mean_error
from trainables.export.facts import SeedFacts


def known_of(row: TrialRow, rows: Sequence[TrialRow], study: StudyMeta) -> SeedFacts:
    """What is known of a trial's configuration over the seeds that the study has tried."""
    key = functools.partial(configuration, axes=study.aim.axes)
    groups: dict[tuple[Any, ...], list[TrialRow]] = {}
    for each in rows:
        if each.status in STUDENTS and each.quality is not None:
            groups.setdefault(key(each), []).append(each)
    own = groups.get(key(row), [row])
    trained = (group for group in groups.values() if group[0].status == "finished")  # in a further precision: no news
    noise = pooled_noise(np.array([each.quality for each in group], dtype=float) for group in trained)
    mean = float(np.mean([each.rank_quality for each in own]))
    scores = {task: [each.tasks[task].score for each in own if task in each.tasks] for task in study.tasks}
    errors = {
        task: study.tasks[task].gap.share_error(float(np.mean(values)))
        for task, found in scores.items()
        if (values := [score for score in found if score is not None])
    }
    reach = NORMAL_95 * mean_error(errors, study.weights) if errors else float("nan")
    no_seeds = noise.known and is_untrained(row.config)
    below, above = (0.0, 0.0) if no_seeds else noise.errors(len(own))
    ends = mean - float(joined(reach, above)), mean + float(joined(reach, -below))
    low, high = (None if end != end else end for end in ends)
    return SeedFacts(len(own), mean, low, high, noise.known)
