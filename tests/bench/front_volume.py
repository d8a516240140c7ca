"""The volume of the fronts of studies as they were searched, trial by trial, all with the latencies of the first.

    python tests/bench/front_volume.py STUDY [STUDY ...]
    python tests/bench/front_volume.py --parameters-alone STUDY [STUDY ...]     # for studies of other shapes too

The studies have the same teacher and tasks, and the same shapes where latency counts. Volume counts from quality 0 and
the teacher's parameters and latency on, each a share of the teacher's; starts that were scored untrained are there
before the first trial.
"""

import argparse

import numpy as np

from search.store.parts import Store
from spaces.records.costs import LATENCY, PARAMETERS
from spaces.records.fronts import hypervolume
from spaces.records.rows import TrialRow
from spaces.students.architecture import architecture_of
from spaces.students.transfer import UNTRAINED


def finished(folder: str) -> list[TrialRow]:
    """Its finished trials, by number."""
    return sorted(
        (row for row in Store.of(folder).read_trials() if row.status == "finished"), key=lambda row: row.trial
    )


def main() -> None:
    """A line for each study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+")
    parser.add_argument("--parameters-alone", action="store_true", help="leave latency out")
    options = parser.parse_args()
    folders = options.studies
    teacher = Store.of(folders[0]).read_meta().teacher.costs
    latency = {architecture_of(row.config): row.costs[LATENCY.column] for row in finished(folders[0])}

    def point(row: TrialRow) -> list[float]:
        found = [-row.rank_quality, row.costs[PARAMETERS.column] / float(teacher[PARAMETERS.column] or 1.0)]
        if options.parameters_alone:
            return found
        return [*found, latency[architecture_of(row.config)] / float(teacher[LATENCY.column] or 1)]

    worst = [0.0, 1.0] if options.parameters_alone else [0.0, 1.0, 1.0]
    for folder in folders:
        rows = finished(folder)
        starts = [point(row) for row in rows if row.config["method"] == UNTRAINED]
        trained = [row for row in rows if row.config["method"] != UNTRAINED]
        points = [*starts, *map(point, trained)]
        curve = [
            hypervolume(np.array(points[:end]), worst) if end else 0.0 for end in range(len(starts), len(points) + 1)
        ]
        gone_on = sum(row.parent is not None for row in trained)
        ends = " ".join(f"{volume:.4f}" for volume in curve)
        print(f"{folder}: {len(trained)} trials, {gone_on} went on from others; starts, then trial by trial: {ends}")


if __name__ == "__main__":
    main()
