"""What a forward pass is timed with, and from when on its time is not to be relied on."""

from dataclasses import dataclass

from spaces.records.runtimes import FLOAT_PRECISION, PRECISION_RULES, TORCH
from spaces.settings import setting

STEADY = 0.1
"""How far a latency may move while it is measured, as a share of it; beyond, it is marked as a guess."""
REFUSED = 0.5
"""Beyond, it is no number: no study decides by it, and no profile keeps it."""

MAX_SHAPES = 40
"""Shapes measured before the first trial. In a larger space each trial measures its own, beside the others."""


FIXED, OF_TASKS = "fixed", "tasks"


@dataclass(frozen=True)
class PassSpec:
    """A forward pass over full sequences, and where it is made."""

    device: str = setting("where latency is measured", "cpu", choices=("cpu", "cuda"))
    threads: int = setting("threads of the measurement", 1, at_least=1)
    batch_size: int = setting("texts at a time", 1, at_least=1)
    sequence_length: int = setting("tokens of each text", 128, at_least=1)


@dataclass(frozen=True)
class LatencySpec(PassSpec):
    """`[latency]` of a spec: where and on what input students are measured."""

    lengths: str = setting(
        "what latency is timed on: fixed, full sequences; tasks, texts as long as those of the dev splits, by turns",
        FIXED,
        choices=(FIXED, OF_TASKS),
    )
    throughput_batch: int | None = setting(
        "texts at a time when many are embedded, of which the cost text_ms is; unset: it is not measured",
        None,
        at_least=1,
    )
    memory: bool = setting(
        "whether the cost memory_mb is measured: a process of its own for each shape, some seconds in torch", False
    )


@dataclass(frozen=True)
class ProfileSpec(PassSpec):
    """A pass of `stillhouse profile`, which measures other runtimes too."""

    runtime: str = setting("what runs the forward pass", TORCH)
    precision: str = setting("of the file that runs under onnx or openvino", FLOAT_PRECISION, **PRECISION_RULES)

    lengths: str = setting("of a bundle: fixed, or as long as the texts of the tasks", FIXED, choices=(FIXED, OF_TASKS))

    @property
    def name(self) -> str:
        """'cpu-onnx-t2-b1-l128', 'cpu-onnx-int8-t2-b1-l128', 'cpu-onnx-t1-b1-tasks'."""
        length = f"l{self.sequence_length}" if self.lengths == FIXED else self.lengths
        how = self.runtime if self.precision == FLOAT_PRECISION else f"{self.runtime}-{self.precision}"
        return f"{self.device}-{how}-t{self.threads}-b{self.batch_size}-{length}"
