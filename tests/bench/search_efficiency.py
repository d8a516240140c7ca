"""Which search finds a good front soonest? Six searches replayed on recorded trials, side by side.

random, Ray Tune's stock OptunaSearch (TPE for several objectives), Optuna's NSGA-II, OptunaSearch under Ray's
ASHAScheduler on quality, Syne Tune's MOASHA, and stillhouse's own AskTell with its rungs: each 20 times, on simulated
workers, for the same simulated seconds. Prints a table in Markdown. The recording is made by record_table.py.

    python tests/bench/search_efficiency.py                             # about 4 minutes on two cores
    python tests/bench/search_efficiency.py --ablations                 # stillhouse with parts of it taken away
    python tests/bench/search_efficiency.py --plot docs/results/search.png
    # Syne Tune pins other versions; give it an environment of its own, and say where its packages are:
    python -m venv syne && syne/bin/pip install syne-tune==0.16
    python tests/bench/search_efficiency.py --syne syne/bin/python
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import optuna
from simulate import Ended, Recording, Rung, hypervolume_curve, load, simulate

from search.proposals.asktell import AskTell
from search.proposals.searched import Searched
from search.store.parts import Store
from spaces.records.objectives import aim_of
from spaces.space.search_space import assemble
from spaces.students.architecture import parse_shape
from trainables.lanes.messages import TrialOutcome
from trainables.tasks.scores import Scores
from trainables.training.reports import TrialReport

RECORDED = Path(__file__).parent / "recorded" / "docs.parquet"
WORKERS, WHOLE_TRIALS, SEEDS = 4, 80, 20
OBJECTIVES = ("quality", "parameters")
os.fsync = lambda descriptor: None  # type: ignore[assignment]  # simulated studies need not survive a power cut


@lru_cache(maxsize=1)
def recording(path: str) -> Recording:
    """Read once per process."""
    return load(Path(path))


class Ours:
    """stillhouse: the real AskTell and Rungs over a store in a scratch folder."""

    def __init__(self, table: Recording, seed: int, folder: str, **options: Any) -> None:
        self.rung_tokens = tuple(table.about["rungs"]) if options.pop("rungs", True) else ()
        self.budget_tokens = max(rungs[-1].train_tokens for rungs in table.trials.values() if rungs)
        chosen = {"sampler": "tpe", "candidates": 32, "protected": 1} | options
        searched = Searched(
            table.space, table.cost_columns, aim_of(OBJECTIVES, {}), seed=seed, budget=10_000,
            train_tokens=self.budget_tokens, sampler=chosen["sampler"], candidates=chosen["candidates"],
            rung_tokens=self.rung_tokens, rung_factor=3, protected=chosen["protected"],
            reference={"parameters": table.teacher_parameters},
        )  # fmt: skip
        self.asktell = AskTell(Store(folder, []), searched)
        self.handles = 0

    def suggest(self) -> tuple[Any, Mapping[str, Any], int] | None:
        ask = self.asktell.ask()
        if ask is None:
            return None
        passed = sum(r.get("quality") is not None for r in self.asktell.live[ask.trial].reports)
        return ask.trial, ask.config, passed if self.rung_tokens else 0

    def report(self, handle: Any, level: int, rung: Rung) -> bool:
        report = TrialReport(level, rung.train_tokens, 0.0, 0.0, 0.0, 0.0, 0.0, Scores(rung.quality, {}))
        return self.asktell.report(handle, report) is None

    def complete(self, handle: Any, rung: Rung | None) -> None:
        outcome = TrialOutcome(reason="failed")
        if rung is not None:
            outcome = TrialOutcome(scores=Scores(rung.quality, {}), costs={"train_tokens": rung.train_tokens})
        self.asktell.tell(handle, outcome)


def config_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration from what Optuna drew, under the names of the search space."""
    plain = {name.partition("@")[0]: value for name, value in params.items()}
    return assemble(plain.pop("method"), parse_shape(plain.pop("shape")), plain)


class RayOptuna:
    """Ray Tune's OptunaSearch as it comes, driven through its Searcher interface; optionally under ASHAScheduler."""

    def __init__(self, table: Recording, seed: int, folder: str, asha: bool = False, nsga2: bool = False) -> None:
        from ray.tune.schedulers import ASHAScheduler
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.table, self.count = table, 0
        sampler = {"sampler": optuna.samplers.NSGAIISampler(seed=seed)} if nsga2 else {"seed": seed}
        self.search = OptunaSearch(self.space, metric=list(OBJECTIVES), mode=["max", "min"], **sampler)
        self.asha = None
        if asha:
            budget = max(rungs[-1].train_tokens for rungs in table.trials.values() if rungs)
            first = table.about["rungs"][0]
            self.asha = ASHAScheduler(
                time_attr="train_tokens", metric="quality", mode="max", max_t=budget, grace_period=first,
                reduction_factor=3,
            )  # fmt: skip
        self.parameters: dict[str, float] = {}

    def space(self, trial: Any) -> None:
        """Define by run."""
        self.table.space.suggest(trial)

    def suggest(self) -> tuple[Any, Mapping[str, Any], int] | None:
        self.count += 1
        handle = f"t{self.count}"
        config = config_of(self.search.suggest(handle))
        self.parameters[handle] = self.table.cost_columns(config)["parameters"]
        if self.asha is not None:
            self.asha.on_trial_add(None, SimpleNamespace(trial_id=handle))
        return handle, config, 0

    def report(self, handle: Any, level: int, rung: Rung) -> bool:
        result = self.result(handle, rung)
        if self.asha is None or self.asha.on_trial_result(None, SimpleNamespace(trial_id=handle), result) == "CONTINUE":
            return True
        self.asha.on_trial_complete(None, SimpleNamespace(trial_id=handle), result)
        self.search.on_trial_complete(handle, result)  # as Tune does with what a scheduler stops
        return False

    def complete(self, handle: Any, rung: Rung | None) -> None:
        if rung is None:
            self.search.on_trial_complete(handle, None, error=True)
            return
        if self.asha is not None:
            self.asha.on_trial_complete(None, SimpleNamespace(trial_id=handle), self.result(handle, rung))
        self.search.on_trial_complete(handle, self.result(handle, rung))

    def result(self, handle: str, rung: Rung) -> dict[str, Any]:
        return {
            "quality": rung.quality, "parameters": self.parameters[handle], "train_tokens": rung.train_tokens,
            "training_iteration": 1,
        }  # fmt: skip


class Moasha:
    """Syne Tune's MOASHA in its own Python (moasha_server.py); it draws at random from the flat space."""

    def __init__(self, table: Recording, seed: int, folder: str, python: str = "") -> None:
        self.table = table
        axes = {name: list(axis.choices) for name, axis in table.space.axes.items()}
        budget = max(rungs[-1].train_tokens for rungs in table.trials.values() if rungs)
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name("moasha_server.py"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.call({"axes": axes, "seed": seed, "first": table.about["rungs"][0], "budget": budget, "factor": 3})
        self.parameters: dict[int, float] = {}

    def call(self, message: dict[str, Any]) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def suggest(self) -> tuple[Any, Mapping[str, Any], int] | None:
        answer = self.call({"do": "suggest"})
        config = feasible(self.table, answer["config"])
        self.parameters[answer["trial"]] = self.table.cost_columns(config)["parameters"]
        return answer["trial"], config, 0

    def report(self, handle: Any, level: int, rung: Rung) -> bool:
        return self.call({"do": "report", "trial": handle, **self.result(handle, rung)})

    def complete(self, handle: Any, rung: Rung | None) -> None:
        self.call({"do": "error", "trial": handle} if rung is None else {"do": "complete", "trial": handle,
                  **self.result(handle, rung)})  # fmt: skip

    def result(self, handle: int, rung: Rung) -> dict[str, Any]:
        return {"train_tokens": rung.train_tokens, "quality": rung.quality, "parameters": self.parameters[handle]}

    def __del__(self) -> None:
        self.process.kill()
        self.process.wait()


def feasible(table: Recording, flat: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that a draw from the flat space stands for: axes of other methods dropped, twins merged."""
    from spaces.space.axes import all_axes, axes_of_trial

    student = parse_shape(flat["shape"])
    drawn = {}
    for name in axes_of_trial(flat["method"]):
        choices = table.space.axes[name].choices
        twin = all_axes()[name].same_as(flat[name], choices, student, table.space.teacher)
        drawn[name] = flat[name] if twin is None else twin
    return assemble(flat["method"], student, drawn)


SEARCHES: dict[str, tuple[Callable[..., Any], dict[str, Any], bool]] = {
    "random": (Ours, {"sampler": "random", "candidates": 1, "rungs": False}, False),
    "OptunaSearch (TPE)": (RayOptuna, {}, False),
    "NSGA-II": (RayOptuna, {"nsga2": True}, False),
    "OptunaSearch + ASHA": (RayOptuna, {"asha": True}, True),
    "MOASHA": (Moasha, {}, True),
    "stillhouse": (Ours, {}, True),
}
"""name -> (search, its options, whether it looks at rungs)."""

ABLATIONS: dict[str, tuple[Callable[..., Any], dict[str, Any], bool]] = {
    "stillhouse": (Ours, {}, True),
    "all draws at random": (Ours, {"sampler": "random"}, True),
    "first draw by NSGA-II": (Ours, {"sampler": "nsga2"}, True),
    "without the model": (Ours, {"candidates": 1}, True),
    "without rungs": (Ours, {"rungs": False}, False),
    "nobody protected": (Ours, {"protected": 0}, True),
    "random, with rungs": (Ours, {"sampler": "random", "candidates": 1}, True),
    "random": (Ours, {"sampler": "random", "candidates": 1, "rungs": False}, False),
}
COLOURS = ("#8a8f98", "#3b6fb6", "#6a51a3", "#2a9d8f", "#c08a1e", "#c1272d", "#5b8c3a", "#444444")


def one(job: tuple[str, int, str, float, bool, str | None]) -> list[Ended]:
    """One search with one seed."""
    name, seed, path, horizon_s, count_scoring, python = job
    table = recording(path)
    kind, options, uses_rungs = (SEARCHES | ABLATIONS)[name]
    folder = tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    try:
        extra = {"python": python} if kind is Moasha else {}
        search = kind(table, seed, folder, **options, **extra)
        return simulate(search, table, WORKERS, horizon_s, uses_rungs=uses_rungs, count_scoring=count_scoring)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def mean_trial_s(table: Recording, count_scoring: bool) -> float:
    """Seconds of a trial with its whole budget, scored once at the end."""
    return float(np.mean([r[-1].train_s + r[-1].score_s * count_scoring for r in table.trials.values() if r]))


def curves(
    name: str, path: str, trials: int, seeds: int, pool: ProcessPoolExecutor, scoring: bool, python: str | None
) -> np.ndarray:
    """(seeds, times) hypervolumes on a grid of 200 times."""
    table = recording(path)
    horizon_s = trials * mean_trial_s(table, scoring) / WORKERS
    grid_s = np.linspace(0, horizon_s, 201)[1:]
    runs = pool.map(one, [(name, seed, path, horizon_s, scoring, python) for seed in range(seeds)])
    return np.stack([hypervolume_curve(ended, table, grid_s) for ended in runs])


def main() -> None:
    """Run, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recording", default=str(RECORDED))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument(
        "--syne", help="the Python of an environment that has syne-tune 0.16; without it MOASHA is left out"
    )
    parser.add_argument("--only", nargs="*", help="names of searches")
    parser.add_argument("--count-scoring", action="store_true", help="scoring takes its recorded seconds, too")
    parser.add_argument("--ablations", action="store_true", help="compare variants of stillhouse instead")
    parser.add_argument("--plot", type=Path, help="draw the curves: a .html page, or a .png by way of a browser")
    parser.add_argument("--trials", type=int, default=WHOLE_TRIALS, help="budget, in whole trials")
    options = parser.parse_args()
    if not Path(options.recording).is_file():
        parser.error(
            f"there is no recording {options.recording}; python tests/bench/record_table.py --out table makes it"
        )
    found: dict[str, np.ndarray] = {}
    with ProcessPoolExecutor(2) as pool:
        for name in ABLATIONS if options.ablations else SEARCHES:
            if (options.only and name not in options.only) or (name == "MOASHA" and not options.syne):
                print(f"{name} left out" + (": no --syne" if name == "MOASHA" else ""), flush=True)
                continue
            started = time.time()
            found[name] = curves(
                name, options.recording, options.trials, options.seeds, pool, options.count_scoring, options.syne
            )
            print(f"{name}: {time.time() - started:.0f} s, at the end {found[name][:, -1].mean():.4f}", flush=True)
    print("\n".join(report(found)))
    if options.plot:
        draw(found, options.trials, options.plot)


def draw(found: Mapping[str, np.ndarray], trials: int, target: Path) -> None:
    """Mean hypervolume over simulated trials, with the interval of the mean."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for (name, runs), colour in zip(found.items(), COLOURS, strict=False):
        at = np.linspace(0, trials, runs.shape[1] + 1)[1:]
        mean, half = runs.mean(axis=0), 1.96 * runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
        band = {"hoverinfo": "skip", "showlegend": False, "line": {"width": 0}}
        figure.add_scatter(x=at, y=mean - half, **band)
        figure.add_scatter(x=at, y=mean + half, fill="tonexty", fillcolor=f"rgba{rgba(colour, 0.15)}", **band)
        line = {"color": colour, "width": 4 if name == "stillhouse" else 2}
        figure.add_scatter(x=at, y=mean, name=name, line=line)
    least = min(runs[:, runs.shape[1] // 8].mean() for runs in found.values())
    most = max(runs.mean(axis=0).max() for runs in found.values())
    figure.update_layout(
        template="plotly_white", width=1000, height=560, margin={"l": 70, "r": 20, "t": 50, "b": 60},
        title=f"Hypervolume of the front, mean of {len(next(iter(found.values())))} seeds",
        xaxis_title="compute, in whole trials", yaxis_title="hypervolume (quality x parameters)",
        yaxis_range=[least - 0.02, most + 0.01], legend={"x": 0.99, "y": 0.02, "xanchor": "right", "yanchor": "bottom"},
    )  # fmt: skip
    if target.suffix != ".png":
        figure.write_html(target, include_plotlyjs=True)
        return
    sys.path.insert(0, str(Path(__file__).parent.parent))
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


def report(found: Mapping[str, np.ndarray]) -> list[str]:
    """The table in Markdown."""
    lines = ["| search | 10 % | 20 % | 25 % | 50 % | 100 % | reaches random's end at |", "| --- " * 7 + "|"]
    target = found["random"][:, -1].mean() if "random" in found else None
    for name, runs in found.items():
        cells = []
        for share in (0.1, 0.2, 0.25, 0.5, 1.0):
            values = runs[:, round(share * runs.shape[1]) - 1]
            half = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
            cells.append(f"{values.mean():.4f} ± {half:.4f}")
        reached = np.flatnonzero(runs.mean(axis=0) >= target - 1e-12) if target is not None else []
        cells.append(f"{100 * (reached[0] + 1) / runs.shape[1]:.0f} %" if len(reached) else "never")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
