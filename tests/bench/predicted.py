"""How well the model of quality foresees the next trial of finished searches, by what it learns of kept starts.

python tests/bench/predicted.py STUDY [STUDY ...]        # folders of searches that scored their starts

Each trained trial from the fifth on is predicted from the starts and the trials before it, once as `reached` (what
training led to, which is what a search learns from) and once as `kept` (the better of that and the start). A trial is
scored by the distance of the mean and by the logarithm of the density at what came; seeds and draws play no part.
"""

import argparse
import json
import math

import numpy as np

from search.samplers.context import Seen
from search.samplers.surrogate import predict
from search.store.history import is_untrained
from search.store.parts import Store

FIRST = 4
"""Trained trials that are only learned from."""
LEARNED = {"reached": lambda row: row.reached_quality, "kept": lambda row: row.rank_quality}


def foreseen(folder: str, learned: str) -> list[tuple[float, float]]:
    """(distance, log density) of each trial that is predicted."""
    store = Store.of(folder)
    configs = {row["trial"]: json.loads(row["config"]) for row in store.read_rows("asked")}
    rows = sorted((row for row in store.read_trials() if row.status == "finished"), key=lambda row: row.trial)
    rows = [row for row in rows if row.parent is None]
    starts = [row for row in rows if is_untrained(row.config)]
    trained = [row for row in rows if not is_untrained(row.config)]
    found = []
    for place, row in enumerate(trained):
        if place < FIRST:
            continue
        known = [*starts, *trained[:place]]
        seen = [Seen(configs[each.trial], 1.0, LEARNED[learned](each)) for each in known]
        mean_N, sd_N = predict([configs[row.trial]], seen)
        z = (row.reached_quality - mean_N[0]) / sd_N[0]
        found.append((abs(row.reached_quality - mean_N[0]), -0.5 * z * z - math.log(sd_N[0] * math.sqrt(2 * math.pi))))
    return found


def main() -> None:
    """Print a row for each study and one for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+")
    studies = parser.parse_args().studies
    found = {(folder, learned): foreseen(folder, learned) for folder in studies for learned in LEARNED}
    print("| study | trials | reached: distance | log density | kept: distance | log density |")
    print("| --- | --- | --- | --- | --- | --- |")
    for folder in (*studies, "all"):
        wanted = studies if folder == "all" else [folder]
        values = {name: np.array([pair for each in wanted for pair in found[each, name]]) for name in LEARNED}
        shown = [f"{values[name][:, 0].mean():.3f} | {values[name][:, 1].mean():.2f}" for name in LEARNED]
        print(f"| {folder} | {len(values['reached'])} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()
