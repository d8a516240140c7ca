"""The stages of a run in steps: what each reads, how its learning rate goes, and what of the student it trains.

All of it is a function of the step, so that a run goes on in the middle of a stage as it would have gone on anyway.
Stages that read the same text read on where the one before stopped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from torch import nn
from transformers import PreTrainedModel

from spaces.errors import TrialFailed
from spaces.students.stages import CLOSE, SUPPLEMENT, Stage, stages_of
from trainables.models.encoder import layers
from trainables.text.corpus import Corpus
from trainables.training.settings import TrainingRun


@dataclass(frozen=True)
class StageOfRun:
    """A stage of one run. Steps of a run are counted from 1."""

    number: int
    """Counted from 0."""
    stage: Stage
    corpus: Corpus
    """The text that it reads."""
    before: int
    """Steps of the run before its first."""
    steps: int
    first_batch: int
    """The batch, in the order of its text, that its first step reads, counted from 0."""
    tokens_before: float
    tokens_per_step: float

    @property
    def last(self) -> int:
        """Its last step."""
        return self.before + self.steps

    def batch(self, step: int) -> int:
        """The batch, in the order of its text, that a step reads."""
        return self.first_batch + step - self.before - 1

    def tokens(self, step: int) -> float:
        """That the run has seen after a step."""
        return self.tokens_before + (step - self.before) * self.tokens_per_step

    def rate(self, step: int, warmup_fraction: float) -> float:
        """The factor of the learning rate: each stage warms up and decays by itself."""
        return schedule(step - self.before - 1, self.steps, warmup_fraction)

    def opened(self, step: int, num_layers: int) -> int | None:
        """How many layers from the top learn beside the student's head; None: all of the student."""
        if not self.stage.unfreezing:
            return None
        opened = (step - self.before - 1) * (num_layers + 2) // self.steps
        return opened if opened <= num_layers else None


def schedule(step: int, total_steps: int, warmup_fraction: float) -> float:
    """Linear warm-up to 1 and linear decay to 0; the factor of the step counted from 0."""
    warmup = max(1, round(warmup_fraction * total_steps))
    return min((step + 1) / warmup, (total_steps - step) / max(1, total_steps - warmup))


def stages_of_run(run: TrainingRun, corpus: Corpus) -> tuple[StageOfRun, ...]:
    """The stages of a run one after the other.

    The steps of each text are those of its share of the tokens, rounded up, and each of its stages ends at the step
    that is next to its own share of them. Raises TrialFailed where a stage has no step, or its text is missing.
    """
    stages, batch_size = stages_of(run.config["method"]), run.config["batch_size"]
    if corpus.supplement is None and any(stage.on_supplement for stage in stages):
        raise TrialFailed(f"method {run.config['method']!r} reads a {SUPPLEMENT}, and the corpus has none")
    steps, batches, per_step = [0] * len(stages), [0] * len(stages), [0.0] * len(stages)
    for on_supplement in {stage.on_supplement for stage in stages}:
        text = text_of(corpus, on_supplement)
        own = [number for number, stage in enumerate(stages) if stage.on_supplement == on_supplement]
        tokens_per_step = batch_size * text.tokens_per_row
        shares = [0.0, *accumulate(stages[number].share for number in own)]
        whole = 1.0 if abs(shares[-1] - 1) < CLOSE else shares[-1]
        total = max(1, math.ceil(whole * run.train_tokens / tokens_per_step - CLOSE))
        ends = [round(total * share / shares[-1]) for share in shares]
        for place, number in enumerate(own):
            steps[number] = ends[place + 1] - ends[place]
            batches[number] = run.first_step(total) + ends[place]
            per_step[number] = tokens_per_step
    if 0 in steps:
        stage = stages[steps.index(0)]
        raise TrialFailed(
            f"{run.train_tokens:,} tokens leave no step to the stage {stage.text!r} of {run.config['method']!r}; "
            f"nearest: {math.ceil(max(per_step) / stage.share):,} tokens"
        )
    before = [0, *accumulate(steps)]
    tokens = [0.0, *accumulate(n * each for n, each in zip(steps, per_step, strict=True))]
    return tuple(
        StageOfRun(
            n, stage, text_of(corpus, stage.on_supplement), before[n], steps[n], batches[n], tokens[n], per_step[n]
        )
        for n, stage in enumerate(stages)
    )


def text_of(corpus: Corpus, on_supplement: bool) -> Corpus:
    """The text that a stage reads."""
    return corpus.supplement if on_supplement and corpus.supplement is not None else corpus


def stage_at(stages: Sequence[StageOfRun], step: int) -> StageOfRun:
    """The stage of a step, the last one for those beyond the end."""
    return next((stage for stage in stages if step <= stage.last), stages[-1])


def step_after(stages: Sequence[StageOfRun], tokens: float) -> int:
    """The first step after which the run has seen so many tokens."""
    stage = next((stage for stage in stages if tokens <= stage.tokens(stage.last)), stages[-1])
    return stage.before + math.ceil((tokens - stage.tokens_before) / stage.tokens_per_step - CLOSE)


def open_layers(student: PreTrainedModel, learning: Sequence[nn.Parameter], opened: int | None) -> None:
    """Of the parameters that learn in a run, let only the head's do, and those of so many layers from the top.

    None: all of them. What both the head and the embeddings use belongs to the embeddings.
    """
    encoder = {id(parameter) for parameter in student.base_model.parameters()}
    every = layers_of(student)
    top = {id(parameter) for layer in every[len(every) - (opened or 0) :] for parameter in layer.parameters()}
    for parameter in learning:
        parameter.requires_grad_(opened is None or id(parameter) in top or id(parameter) not in encoder)


def layers_of(student: PreTrainedModel) -> list[nn.Module]:
    """The layers that have parameters of their own: one where it serves for all."""
    return list(dict.fromkeys(layers(student)))
