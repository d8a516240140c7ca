"""Configurations drawn one after the other: the first draws by Optuna's sampler, of which the model takes the best."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from search.proposals.observations import Memory
from search.proposals.searched import Searched
from search.proposals.told import study_of
from search.samplers.answers import Within
from search.samplers.context import Config, Context
from search.samplers.drawing import sampler_of
from search.store.history import Ask, History, Running
from spaces.errors import InfeasibleConfig
from spaces.space.search_space import config_hash

MAX_INFEASIBLE = 200
"""Infeasible draws in a row before the search ends: the feasible part of the space is then practically used up."""
MAX_DUPLICATES = 50
"""Repeated configurations in a row before the search ends: the sampler has nothing new to say."""
Live = Mapping[int, Running]


class Draws:
    """What the sampler of a search asks for. Repeated and infeasible draws are recorded and passed over."""

    def __init__(
        self, searched: Searched, history: History, memory: Memory, branches: Sequence[Mapping[str, Any]]
    ) -> None:
        self.searched, self.history, self.memory, self.branches = searched, history, memory, branches
        self.why_nothing = ""
        """Why nothing was drawn the last time."""
        self._duplicates = history.last_duplicates()

    @property
    def are_over(self) -> bool:
        """Whether the sampler only repeats itself, whatever may still be heard."""
        return self._duplicates >= MAX_DUPLICATES

    def next(self, live: Live, turn: int) -> Ask | None:
        """The next trial; `turn`: how many have run or run now. None when nothing new was drawn."""
        number, tries = self.history.next_number, 0
        reasons: Counter[str] = Counter()
        told = self.memory.told()
        ours = [trial for trial, each in live.items() if self.searched.space.holds(each.ask.config)]
        running = [self.memory.write(self.history.asked[trial]["config"]) for trial in ours]
        for _ in range(MAX_INFEASIBLE):
            if self.are_over:
                name = self.searched.sampler
                self.why_nothing = f"the last {MAX_DUPLICATES} configurations that {name} asked for had all been tried"
                return None
            if number != self.history.next_number:  # counted from each row, where a resume begins to count as well
                number, tries = self.history.next_number, 0
            context = self._context(live, turn)
            sampler = sampler_of(self.searched.sampler, (self.searched.seed, number + 1, tries), context)
            tries += 1
            config = dict(context.space(study_of(told, running, self.searched.aim.objectives, sampler).ask()))
            digest = config_hash(config, self.searched.seed)
            try:
                self.searched.check(config)
            except InfeasibleConfig as error:
                reasons[str(error)] += 1
                if self.searched.candidates == 1:
                    self.history.record_infeasible(config, self.searched.seed, str(error))
                continue
            if digest in self.history.by_hash:
                self._duplicates += 1
                self.history.record_duplicate(digest)
            elif not runs(digest, live):
                self._duplicates = 0
                return Ask(self.history.next_number, config, self.searched.seed, digest)
        common = f"; most often: {reasons.most_common(1)[0][0]}" if reasons else ""
        self.why_nothing = f"{MAX_INFEASIBLE} draws in a row gave nothing new to run{common}"
        return None

    def _context(self, live: Live, turn: int) -> Context:
        """What the sampler of the next draw may know."""
        branch = self._branch(turn) or {}

        def space(trial: Any) -> Config:
            return self.searched.space.suggest(Within(trial, branch) if branch else trial)

        return Context(
            space=space,
            known=self.searched.known,
            allowed=lambda config: self._may_be_tried(config, live),
            evidence=lambda: self.memory.evidence(list(live.values()), self.searched.seed),
            reference=self.searched.worst(),
            candidates=self.searched.candidates,
            fixed=branch,
            prior=None if self.searched.prior is None else self.searched.prior.weights,
        )

    def _may_be_tried(self, config: Config, live: Live) -> bool:
        digest = config_hash(config, self.searched.seed)
        if digest in self.history.by_hash or runs(digest, live):
            return False
        try:
            self.searched.check(config)
        except InfeasibleConfig:
            return False
        return True

    def _branch(self, turn: int) -> Mapping[str, Any] | None:
        """What is fixed while every branch of the space is tried once; None after that, or in a small budget."""
        if turn >= len(self.branches) or 2 * len(self.branches) > self.searched.budget:
            return None
        return self.branches[turn]


def runs(digest: str, live: Live) -> bool:
    """Whether a trial of this configuration runs now."""
    return any(each.ask.config_hash == digest for each in live.values())
