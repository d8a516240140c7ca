"""Which search finds a good front soonest? Searches replayed on recorded trials, side by side.

stillhouse under both schedules, random search, Optuna's TPE, NSGA-II and GPSampler, Syne Tune's MOASHA, BoTorch's
qLogNEHVI, NePS' MO-Hyperband and SMAC's ParEGO (rivals.py gives each its best form), on simulated workers, for the same
simulated seconds. Each replay is a line in --out, so that an interrupted run goes on; the tables are made from these
lines. The recordings are made by record_table.py.

    python tests/bench/search_efficiency.py docs --out replays.jsonl --only random halving "freeze and thaw"
    python tests/bench/search_efficiency.py docs --out replays.jsonl --report --plot docs/results/search.png
    # Libraries that pin other versions get environments of their own:
    python -m venv syne && syne/bin/pip install syne-tune==0.16
    python -m venv botorch && botorch/bin/pip install botorch==0.18.1
    python -m venv neps && neps/bin/pip install neural-pipeline-search==0.17.0
    python -m venv smac && smac/bin/pip install smac==2.4.1
    python tests/bench/search_efficiency.py docs --out replays.jsonl --syne syne/bin/python \\
        --botorch botorch/bin/python --neps neps/bin/python --smac smac/bin/python
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from replayed import Ours
from rivals import Optuna, Served
from simulate import Recording, hypervolume_curve, load, simulate

BENCH = Path(__file__).parent
WORKERS, WHOLE_TRIALS, SEEDS, TIMES = 4, 80, 40, 200
RELOAD_S = 0.1
"""What leaving a trial and coming back costs: the checkpoint of a 4x144 student is written and read in this time."""
SHARES = (0.1, 0.25, 0.5, 1.0)
"""Of the budget, at which curves are printed."""
DRAWS = 2000
"""Of the bootstrap."""
os.fsync = lambda descriptor: None  # type: ignore[assignment]  # simulated studies need not survive a power cut

SEARCHES: dict[str, tuple[Callable[..., Any], dict[str, Any], bool]] = {
    "random": (Ours, {"sampler": "random", "candidates": 1, "rungs": False}, False),
    "TPE": (Optuna, {"sampler": "tpe"}, False),
    "NSGA-II": (Optuna, {"sampler": "nsga2"}, False),
    "GPSampler": (Optuna, {"sampler": "gp"}, False),
    "MOASHA": (Served, {"server": "moasha_server.py", "python": "syne"}, True),
    "qLogNEHVI": (Served, {"server": "botorch_server.py", "python": "botorch"}, False),
    "MO-Hyperband": (Served, {"server": "neps_server.py", "python": "neps"}, True),
    "ParEGO": (Served, {"server": "smac_server.py", "python": "smac"}, False),
    "halving": (Ours, {"schedule": "halving"}, True),
    "freeze and thaw": (Ours, {"schedule": "freeze_thaw"}, True),
}
"""name -> (search, its options, whether it looks at rungs)."""
COLOURS = ("#8a8f98", "#3b6fb6", "#6a51a3", "#2a9d8f", "#c08a1e", "#5b8c3a", "#b5651d", "#7a7a3a", "#444444", "#c1272d")


@lru_cache(maxsize=1)
def recording(name: str, free_scores: bool) -> Recording:
    """Read once per process."""
    return load(BENCH / "recorded" / f"{name}.parquet", free_scores=free_scores)


def replay(table_name: str, search: str, seed: int, free_scores: bool, pythons: Mapping[str, str]) -> list[float]:
    """The hypervolume of one search with one seed, at TIMES times up to the horizon."""
    table = recording(table_name, free_scores)
    kind, options, uses_rungs = SEARCHES[search]
    horizon_s = WHOLE_TRIALS * table.mean_trial_s / WORKERS
    folder = tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    try:
        own = {**options, "python": pythons[options["python"]]} if "python" in options else dict(options)
        if kind is Ours:
            own["horizon_s"] = horizon_s
        made = kind(table, seed, folder, **own)
        ended = simulate(made, table, WORKERS, horizon_s, uses_rungs=uses_rungs, reload_s=RELOAD_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return hypervolume_curve(ended, table, np.linspace(0, horizon_s, TIMES + 1)[1:]).round(6).tolist()


def known_replays(path: Path, table: str, free_scores: bool) -> dict[str, dict[int, list[float]]]:
    """search -> seed -> curve, of what has been replayed."""
    found: dict[str, dict[int, list[float]]] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        each = json.loads(line)
        if (each["table"], each["free_scores"]) == (table, free_scores):
            found.setdefault(each["search"], {})[each["seed"]] = each["curve"]
    return found


def main() -> None:
    """Replay what is missing, then print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=sorted(path.stem for path in (BENCH / "recorded").glob("*.parquet")))
    parser.add_argument("--out", type=Path, required=True, help="one line of JSON for each replay")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--syne", help="the Python of an environment with syne-tune 0.16; without it no MOASHA")
    parser.add_argument("--botorch", help="the Python of an environment with botorch; without it no qLogNEHVI")
    parser.add_argument("--neps", help="the Python of an environment with NePS; without it no MO-Hyperband")
    parser.add_argument("--smac", help="the Python of an environment with SMAC; without it no ParEGO")
    parser.add_argument("--only", nargs="*", default=list(SEARCHES), help="names of searches")
    parser.add_argument("--free-scores", action="store_true", help="scoring takes no time, at rungs and at the end")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--report", action="store_true", help="replay nothing")
    parser.add_argument("--plot", type=Path, help="draw the curves: a .html page, or a .png by way of a browser")
    options = parser.parse_args()
    pythons = {name: getattr(options, name) for name in ("syne", "botorch", "neps", "smac") if getattr(options, name)}
    known = known_replays(options.out, options.table, options.free_scores)
    jobs = [
        (name, seed)
        for seed in range(options.seeds)
        for name in options.only
        if seed not in known.get(name, {}) and SEARCHES[name][1].get("python", "") in {"", *pythons}
    ]
    if jobs and not options.report:
        with ProcessPoolExecutor(options.workers) as pool:
            futures = {
                pool.submit(replay, options.table, name, seed, options.free_scores, pythons): (name, seed, time.time())
                for name, seed in jobs
            }
            for future in as_completed(futures):
                name, seed, _ = futures[future]
                line = {"table": options.table, "free_scores": options.free_scores, "search": name, "seed": seed}
                with options.out.open("a") as out:
                    print(json.dumps({**line, "curve": future.result()}), file=out)
    known = known_replays(options.out, options.table, options.free_scores)
    found = {name: np.array([known[name][seed] for seed in sorted(known[name])]) for name in SEARCHES if name in known}
    print("\n".join(report(found)))
    if options.plot:
        draw(found, options.plot)


def report(found: Mapping[str, np.ndarray]) -> list[str]:
    """The table in Markdown: curves (seeds, times), the median time to random's end, the mean curve's, the area."""
    head = ["search", "seeds", *(f"{share:.0%}" for share in SHARES), "median seed", "mean curve", "area"]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    target = found["random"][:, -1].mean()
    for name, runs_ST in found.items():
        cells = [str(len(runs_ST))]
        for share in SHARES:
            values_S = runs_ST[:, round(share * TIMES) - 1]
            cells.append(f"{values_S.mean():.4f} ± {1.96 * values_S.std(ddof=1) / np.sqrt(len(values_S)):.4f}")
        cells += [times_text(runs_ST, target, each) for each in (median_time, mean_time)]
        lines.append(f"| {name} | " + " | ".join([*cells, f"{runs_ST.mean():.4f}"]) + " |")
    return lines


def times_text(runs_ST: np.ndarray, target: float, time_of: Callable[[np.ndarray, float], float]) -> str:
    """A time to the target, and its 95 % interval by the bootstrap over seeds."""
    rng = np.random.default_rng(0)
    drawn_D = [time_of(runs_ST[rng.integers(len(runs_ST), size=len(runs_ST))], target) for _ in range(DRAWS)]
    low, high = np.quantile(drawn_D, [0.025, 0.975], method="nearest")
    own = time_of(runs_ST, target)
    return f"{percent(own)} ({percent(low)} to {percent(high)})"


def percent(share: float) -> str:
    """A share of the budget, or never."""
    return f"{100 * share:.1f} %" if share <= 1 else "never"


def times_to(runs_ST: np.ndarray, target: float) -> np.ndarray:
    """The share of the budget at which each curve reaches the target; infinite where it does not."""
    reached_ST = runs_ST >= target - 1e-12
    return np.where(reached_ST.any(axis=1), (reached_ST.argmax(axis=1) + 1) / TIMES, np.inf)


def median_time(runs_ST: np.ndarray, target: float) -> float:
    """Of the seeds."""
    return float(np.quantile(times_to(runs_ST, target), 0.5, method="higher"))


def mean_time(runs_ST: np.ndarray, target: float) -> float:
    """Of the mean curve."""
    return float(times_to(runs_ST.mean(axis=0)[None], target)[0])


def draw(found: Mapping[str, np.ndarray], target: Path) -> None:
    """Mean hypervolume over simulated trials, with the interval of the mean."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for (name, runs), colour in zip(found.items(), COLOURS, strict=False):
        at = np.linspace(0, WHOLE_TRIALS, runs.shape[1] + 1)[1:]
        mean, half = runs.mean(axis=0), 1.96 * runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
        band = {"hoverinfo": "skip", "showlegend": False, "line": {"width": 0}}
        figure.add_scatter(x=at, y=mean - half, **band)
        figure.add_scatter(x=at, y=mean + half, fill="tonexty", fillcolor=f"rgba{rgba(colour, 0.15)}", **band)
        line = {"color": colour, "width": 4 if name == "freeze and thaw" else 2}
        figure.add_scatter(x=at, y=mean, name=name, line=line)
    least = min(runs[:, runs.shape[1] // 8].mean() for runs in found.values())
    most = max(runs.mean(axis=0).max() for runs in found.values())
    figure.update_layout(
        template="plotly_white", width=1000, height=560, margin={"l": 70, "r": 20, "t": 50, "b": 60},
        title="Hypervolume of the front, mean over seeds with its 95 % interval",
        xaxis_title="compute, in whole trials", yaxis_title="hypervolume (quality x parameters)",
        yaxis_range=[least - 0.02, most + 0.01], legend={"x": 0.99, "y": 0.02, "xanchor": "right", "yanchor": "bottom"},
    )  # fmt: skip
    if target.suffix != ".png":
        figure.write_html(target, include_plotlyjs=True)
        return
    sys.path.insert(0, str(BENCH.parent))
    import browser

    with tempfile.TemporaryDirectory() as folder, browser.opened() as opened:
        page = opened.new_page(viewport={"width": 1000, "height": 560})
        figure.write_html(f"{folder}/plot.html", include_plotlyjs=True)
        page.goto(f"file://{folder}/plot.html")
        page.wait_for_selector(".plot-container")
        page.screenshot(path=target)


def rgba(colour: str, alpha: float) -> tuple[float, ...]:
    """A colour written #rrggbb, as numbers."""
    return (*(int(colour[i : i + 2], 16) for i in (1, 3, 5)), alpha)


if __name__ == "__main__":
    main()
