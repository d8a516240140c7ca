"""What a person sees while a study runs: a live view in a terminal, one line per trial everywhere else."""

import time
from typing import IO, Any

import ray.tune
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search.proposals.asktell import AskTell
from search.store.history import is_untrained
from spaces.records.costs import LATENCY, PARAMETERS
from spaces.records.fronts import front_of, values_of, within
from spaces.records.rows import TrialRow
from spaces.students.architecture import outline
from spaces.telling import duration, short
from spaces.values import from_json
from trainables.training.reports import TrialReport

FRONT_ROWS = 8


class StudyProgress(ray.tune.Callback):
    """Fed by Tune (reports) and by the searcher (finished rows)."""

    def __init__(self, asktell: AskTell, terminal: IO[str]) -> None:
        self.asktell = asktell
        self.console = Console(file=terminal, highlight=False)
        self.started_s = time.time()
        self.done_before = 0
        self.waiting_since: float | None = time.time()
        self.tokens_per_s: dict[str, float] = {}
        self.live = Live(console=self.console, get_renderable=self.view, refresh_per_second=2, transient=True)

    def __enter__(self) -> "StudyProgress":
        self.done_before = self.asktell.spent
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def __getstate__(self) -> dict[str, Any]:
        """The Tuner pickles its callbacks for a restore that never happens."""
        return {}

    def say(self, line: str) -> None:
        """A line that stays."""
        self.console.print(line, markup=False, soft_wrap=True)

    def row(self, row: TrialRow) -> None:
        """A trial has ended."""
        if row.status == "finished":
            shown = dict.fromkeys([PARAMETERS, LATENCY, *self.asktell.aim.costs, *self.asktell.aim.limits])
            known = [cost for cost in shown if cost.column in row.costs]
            costs = [f"{short(row.costs[cost.column], cost.decimals)} {cost.unit}" for cost in known]
            what = "  ".join([f"quality {row.rank_quality:.3f} (best {self.best()})", *costs])
        else:
            what = row.reason
        method, shape = row.config["method"], outline(row.config)
        if is_untrained(row.config):
            method = f"{row.config['initialisation']}, untrained,"
        elif row.kept_tokens == 0:
            what = f"{what}  start kept: training led to {short(row.trained_quality)}"
        elif row.is_of_rung:
            what = f"{what}  kept as after {row.kept_tokens:,} tokens: training led to {short(row.trained_quality)}"
        if row.parent is not None:
            what = f"{what}  after trial {row.parent}"
        self.say(f"trial {row.trial:>3}  {row.status:<8}  {method} {shape}  {what}  [{self.counts()}]")

    def best(self) -> str:
        """The best quality within the limits of the study so far."""
        finished = [row for row in self.asktell.tally.rows if row.status == "finished"]
        kept = within(values_of(finished), self.asktell.aim.limits)
        return short(max((row.rank_quality for row, keeps in zip(finished, kept, strict=True) if keeps), default=None))

    @property
    def elapsed_s(self) -> float:
        return time.time() - self.started_s

    def counts(self) -> str:
        """7/20 done, about 12 min left."""
        spent, left = self.asktell.spent, self.asktell.left
        fresh = spent - self.done_before
        wait = f", about {duration(self.elapsed_s / fresh * left)} left" if fresh and left > 0 else ""
        return f"{spent}/{spent + left}{wait}"

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.waiting_since = None
        if result.get("report"):
            self.tokens_per_s[trial.trial_id] = from_json(TrialReport, result["report"]).tokens_per_s

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.tokens_per_s.pop(trial.trial_id, None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.waiting_since = time.time()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.say("a lane ended with its node; its trial goes on elsewhere as soon as CPUs or GPUs are free")
        self.waiting_since = time.time()

    def view(self) -> Group:
        """The live view."""
        tally = self.asktell.tally
        counts = f"{tally.count('finished')} finished, {tally.count('failed')} failed"
        line = f"{counts}, {len(self.asktell.live)} running  [{self.counts()}]"
        if self.tokens_per_s:
            line += f"  {short(sum(self.tokens_per_s.values()), 0)} tokens/s"
        if self.waiting_since is not None:
            line += f"\nstarting worker processes ({time.time() - self.waiting_since:.0f} s)"
        objectives = self.asktell.aim.objectives
        members = front_of(tally.rows, self.asktell.aim)
        table = Table(title="front so far", title_justify="left", box=None)
        for name in ("trial", "method", "shape", *(o.name for o in objectives)):
            table.add_column(name, justify="left" if name == "method" else "right")
        for row in members[-FRONT_ROWS:]:
            method, shape = row.config["method"], " ".join(filter(None, [outline(row.config), row.precision]))
            table.add_row(str(row.trial), method, shape, *(short(row.value(o.column)) for o in objectives))
        return Group(Text(line), table) if members else Group(Text(line))
