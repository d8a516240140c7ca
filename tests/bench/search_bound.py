"""How good could a search on the recorded table be? Two searchers that are told where the best configurations are.

The best are those with the fewest layers that start from the teacher's. Told which they are, one trains so many of them
whole, drawn at random; the other halves: it takes some of each width to the first rung, the better half or so of these
to the second, and the best there to the end. What neither can know is which seed is lucky.

    python tests/bench/search_bound.py                           # seconds
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from search_efficiency import BENCH
from simulate import Ended, Recording, hypervolume_curve, load
from timing import print_table

WHOLE = (20, 40)
HALVINGS = ((18, 6, 3), (18, 4, 3), (18, 3, 3), (10, 5, 3))
"""Trials of each width at the first rung, at the second, to the end."""
DRAWS = 200


def best_configurations(table: Recording) -> list[list[str]]:
    """Names of the best configurations, by width."""
    whole = {name: table.configs[name] for name, rungs in table.trials.items() if rungs}
    fewest = min(config["num_layers"] for config in whole.values())
    best = [n for n, c in whole.items() if c["num_layers"] == fewest and c["initialisation"] != "random"]
    widths = sorted({whole[name]["hidden_size"] for name in best})
    return [[name for name in best if whole[name]["hidden_size"] == width] for width in widths]


def volume(table: Recording, names: Sequence[str]) -> float:
    """Hypervolume of these trials at their whole budgets."""
    ended = [Ended(0.0, table.trials[n][-1].quality, table.costs[n]["parameters"]) for n in names]
    return float(hypervolume_curve(ended, table, np.array([1.0]))[0])


def halved(table: Recording, names: Sequence[str], sizes: Sequence[int], rng: np.random.Generator) -> list[str]:
    """Those of one width that are left."""
    left = list(rng.choice(names, min(sizes[0], len(names)), replace=False))
    for level, size in enumerate(sizes[1:]):
        left = sorted(left, key=lambda name: -table.trials[name][level].quality)[:size]
    return left


def rank_correlations(table: Recording, groups: Sequence[Sequence[str]]) -> list[list[object]]:
    """Spearman correlation of the score at each rung with the last one, within each width."""
    rows: list[list[object]] = []
    for names in groups:
        *early, last = np.array([[rung.quality for rung in table.trials[name]] for name in names]).T
        found = [f"{spearmanr(level, last).statistic:.2f}" for level in early]
        rows.append([table.configs[names[0]]["hidden_size"], len(names), *found])
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recording", type=Path, default=BENCH / "recorded" / "docs.parquet")
    table, rng = load(parser.parse_args().recording), np.random.default_rng(0)
    groups = best_configurations(table)
    everything = [name for group in groups for name in group]
    tokens = [rung.train_tokens for rung in table.trials[everything[0]]]
    rows: list[list[object]] = []
    for number in WHOLE:
        found = [volume(table, rng.choice(everything, number, replace=False)) for _ in range(DRAWS)]
        rows.append([f"{number} at random, whole", number, f"{np.mean(found):.4f}"])
    for sizes in HALVINGS:
        steps = np.diff([0, *tokens]) / tokens[-1]
        cost = len(groups) * float(np.dot(sizes, steps))
        found = [volume(table, [n for g in groups for n in halved(table, g, sizes, rng)]) for _ in range(DRAWS)]
        numbers = ", then ".join(str(size * len(groups)) for size in sizes)
        rows.append([f"halving, {numbers}", f"{cost:.1f}", f"{np.mean(found):.4f}"])
    rows.append(
        ["all recorded trials", len(table.trials), f"{volume(table, [n for n in table.trials if table.trials[n]]):.4f}"]
    )
    print(f"Told which {len(everything)} of {len(table.trials)} configurations are best, means of {DRAWS} draws")
    print_table(["searcher", "tokens, in whole trials", "hypervolume"], rows)
    columns = ["width", "best configurations", "first rung ranks the end", "second rung"]
    print_table(columns, rank_correlations(table, groups))


if __name__ == "__main__":
    main()
