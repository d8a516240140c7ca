"""stillhouse itself as a search that `simulate` drives: the real AskTell over a store in a scratch folder."""

from collections.abc import Mapping
from typing import Any

from simulate import Recording, Rung

from search.proposals.asktell import AskTell
from search.proposals.searched import Searched
from search.proposals.spending import Allowance
from search.store.parts import Store
from spaces.records.objectives import aim_of
from spaces.students.transfer import UNTRAINED
from trainables.lanes.messages import TrialOutcome
from trainables.tasks.scores import Scores
from trainables.training.reports import TrialReport

OBJECTIVES = ("quality", "parameters")


class Ours:
    """AskTell with a schedule, a sampler, or nothing but random draws."""

    def __init__(
        self, table: Recording, seed: int, folder: str, *, horizon_s: float, rungs: bool = True, **options: Any
    ) -> None:
        self.rung_tokens = tuple(table.about["rungs"]) if rungs else ()
        chosen = {"sampler": "tpe", "candidates": 32, "protected": 1} | options
        searched = Searched(
            table.space, table.cost_columns, aim_of(OBJECTIVES, {}), seed=seed, budget=10_000,
            train_tokens=table.budget_tokens, rung_tokens=self.rung_tokens, rung_factor=3,
            reference={"parameters": table.teacher_parameters}, allowance=Allowance(horizon_s / 3600),
            starts=tuple(config for config, _ in table.untrained), **chosen,
        )  # fmt: skip
        self.now_s = 0.0
        self.asktell = AskTell(Store(folder, []), searched, lambda: self.now_s)
        for _, quality in table.untrained:  # scored before any search begins, for all of them
            ask = self.asktell.ask()
            assert ask is not None and ask.config["method"] == UNTRAINED
            self.asktell.tell(ask.trial, TrialOutcome(scores=Scores(quality, {}), costs={"train_tokens": 0}))

    def suggest(self) -> tuple[Any, Mapping[str, Any], int] | None:
        ask = self.asktell.ask()
        if ask is None:
            return None
        passed = sum(r.get("quality") is not None for r in self.asktell.live[ask.trial].reports)
        return ask.trial, ask.config, passed if self.rung_tokens else 0

    def report(self, handle: Any, level: int, rung: Rung) -> bool:
        report = TrialReport(level, rung.train_tokens, 0.0, 0.0, 0.0, 0.0, rung.train_s, Scores(rung.quality, {}))
        return self.asktell.report(handle, report) is None

    def complete(self, handle: Any, rung: Rung | None) -> None:
        outcome = TrialOutcome(reason="failed")
        if rung is not None:
            kept, costs = Scores(rung.kept_quality, {}), {"train_tokens": rung.train_tokens}
            outcome = TrialOutcome(scores=kept, trained_quality=rung.quality, costs=costs)
        self.asktell.tell(handle, outcome)
