"""How trials are trained: what a spec writes under [training], one run of it, and the part of one worker."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spaces.settings import PRECISIONS, setting
from trainables.cache import digest


@dataclass(frozen=True)
class TrainingSpec:
    """How every trial of a study is trained; what differs between trials is in their configurations."""

    weight_decay: float = setting("AdamW weight decay", 0.01, at_least=0)
    warmup_fraction: float = setting("share of the steps with rising learning rate", 0.1, at_least=0, below=1)
    gradient_clip: float = setting("largest gradient norm; larger gradients are scaled down to it", 1.0, above=0)
    mask_fraction: float = setting("share of tokens masked for od and mlm", 0.15, above=0, below=1)
    precision: str = setting("arithmetic of the training steps", "auto", choices=PRECISIONS)
    mixup: float = setting(
        "mixes the embeddings of two texts; the weight that their consistency term grows to; 0: none are mixed", 0.0,
        at_least=0,
    )  # fmt: skip
    mask_views: int = setting("different masks of one block, used in turn by the epochs", 4, at_least=1)
    gradient_accumulation: int = setting("micro-batches per step", 1, at_least=1)
    teacher_precision: str = setting("arithmetic of the teacher's forward pass", "auto", choices=PRECISIONS)
    start: str | None = setting("folder of a student whose weights every trial starts from", None)
    checkpoint_every_s: float = setting("seconds between two checkpoints of a running trial", 60.0, above=0)


GENERATIONS = 2
"""Stretches of text that runs which go on from one another read in turns."""


@dataclass(frozen=True)
class TrainingRun:
    """One configuration, trained for so many tokens."""

    config: Mapping[str, Any]
    train_tokens: int
    seed: int
    settings: TrainingSpec = field(default_factory=TrainingSpec)
    rungs: tuple[int, ...] = ()
    """Token counts at which the student is scored while it trains."""
    generation: int = 0
    """Runs that its start has come through: one that goes on from another reads other text than that did."""

    @property
    def digest(self) -> str:
        """Says whose a checkpoint is."""
        known = (json.dumps(self.config, sort_keys=True), self.seed, self.train_tokens)
        return digest(*known, *([self.generation] if self.generation else []))

    def first_step(self, steps: int) -> int:
        """Steps of the corpus's order that are passed over, of a run of so many.

        Generations take turns between two stretches of text, so that a cache of the teacher's states holds both.
        """
        return steps * (self.generation % GENERATIONS)


@dataclass(frozen=True)
class Worker:
    """One of the data-parallel workers of a run."""

    rank: int = 0
    world_size: int = 1


ALONE = Worker()
