"""What is known of a student that leaves: the values that its card shows and its recipe keeps.

All of it is optional, for a student may be written by a trial, by a study, or alone. Shares are 1 for the teacher and 0
for an untrained encoder.
"""

import datetime
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

from spaces.records.latency import LatencySpec
from spaces.records.runtimes import ONNX
from spaces.records.shares import Gap


@dataclass(frozen=True)
class ScoreFacts:
    """What a student scores on a task, and what that is measured by."""

    score: float | None
    metric: str = "score"
    split: str = "dev"
    kind: str | None = None
    """of trainables/tasks/kinds.py"""
    protocol: str | None = None
    examples: int | None = None
    """of the split"""
    weight: float | None = None
    """in the mean over tasks; None where all are the same"""
    teacher: float | None = None
    floor: float | None = None
    """the score of an untrained encoder"""
    recovered: float | None = None
    layer: int | None = None
    """the hidden state that a probe read; 0 are the embeddings"""

    @property
    def gap(self) -> Gap | None:
        """What the share is measured by, where all of it is known."""
        known = (self.teacher, self.floor, self.score)
        if self.examples is None or any(value is None or not math.isfinite(value) for value in known):
            return None
        return Gap(self.metric, self.examples, self.teacher, self.floor)  # type: ignore[arg-type]


@dataclass(frozen=True)
class SeedFacts:
    """What is known of a configuration over its seeds."""

    seeds: int
    quality: float
    """the mean"""
    low: float | None
    high: float | None
    """the ends of its 95 % interval, where it is known"""
    noise_known: bool
    """whether the study has repeated a configuration"""


@dataclass(frozen=True)
class BothScores:
    """A dev score of a student's weights in torch and of its file, by the same probe."""

    metric: str
    weights: float
    file: float


@dataclass(frozen=True)
class ArtefactFacts:
    """The file for another runtime, and how it embeds held-out text beside the student in torch.

    Embeddings are compared at length 1.
    """

    file: str
    """relative to the folder"""
    precision: str
    opset: int | None
    megabytes: float
    fused_attentions: int | None
    """that are one operator; None: the runtime fuses them when it opens the file"""
    attentions: int
    texts: int
    cosine: float
    """mean over the texts"""
    lowest_cosine: float
    batch_difference: float
    """the largest difference of any value between a text alone and the same text in a batch"""
    same_class: float | None = None
    """share of the texts that file and weights find of one class, of a classifier"""
    runtime: str = ONNX
    scores: Mapping[str, BothScores] = field(default_factory=dict)
    """by task, where the export comes from a study"""


@dataclass(frozen=True)
class StudentFacts:
    """Where a student comes from, what it scores and what it costs."""

    name: str = ""
    study: str | None = None
    teacher: str | None = None
    teacher_digest: str | None = None
    tokenizer: str | None = None
    """whose tokenizer it has, where that is not its teacher's"""
    teacher_hub_id: str | None = None
    """a model of the hub: base_model of the card"""
    license: str | None = None
    language: tuple[str, ...] = ()
    corpus: str | None = None
    sequence_length: int | None = None
    max_tokens: int | None = None
    language_temperature: float | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    """[training] of the spec"""
    config: Mapping[str, Any] = field(default_factory=dict)
    """of the trial: a value for each axis"""
    method: str | None = None
    seed: int | None = None
    train_tokens: int | None = None
    """that its weights have learnt from"""
    num_trials: int | None = None
    """of the study"""
    held_out_loss: float | None = None
    quality: float | None = None
    """weighted mean of the shares on the dev splits"""
    torch_quality: float | None = None
    """of these weights in torch, where quality is that of their file for another runtime"""
    deploy: str | None = None
    """what is scored and measured, where it is not torch: 'onnx int8'"""
    scores: Mapping[str, ScoreFacts] = field(default_factory=dict)
    confirmed: SeedFacts | None = None
    front: str = ""
    """its place among the others, in words"""
    costs: Mapping[str, Any] = field(default_factory=dict)
    """{column of spaces/records/costs.py: value}"""
    latency: LatencySpec | None = None
    """how its latency was measured"""
    hardware: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    model_type: str | None = None
    masked_lm: bool = False
    scores_pairs: bool = False
    classes: tuple[str, ...] = ()
    """that its own head tells apart"""
    weights: bool = True
    """whether they are in the folder"""
    artefact: ArtefactFacts | None = None

    def recipe(self) -> dict[str, Any]:
        """What recipe.json holds: what is known, in terms of JSON, each cost beside the rest."""
        known = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "costs"}
        empty: tuple[Any, ...] = (None, "", (), {})
        return jsonable({name: value for name, value in known.items() if value not in empty} | dict(self.costs))


def jsonable(value: Any) -> Any:
    """The value in terms of JSON: scalars of NumPy as numbers, dates as ISO texts, what is not finite as null."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"a card cannot hold {value!r} of type {type(value).__name__}")
