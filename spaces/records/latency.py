"""What a forward pass is timed with, and from when on its time is not to be relied on."""

from dataclasses import dataclass

from spaces.settings import setting

STEADY = 0.1
"""How far a latency may move while it is measured, as a share of it; beyond, the machine is too busy to tell."""


@dataclass(frozen=True)
class LatencySpec:
    """`[latency]` of a spec: where and on what input students are measured."""

    device: str = setting("where latency is measured", "cpu", choices=("cpu", "cuda"))
    threads: int = setting("threads of the measurement", 1, at_least=1)
    batch_size: int = setting("texts at a time", 1, at_least=1)
    sequence_length: int = setting("tokens of each text", 128, at_least=1)


@dataclass(frozen=True)
class ProfileSpec(LatencySpec):
    """The same for `stillhouse profile`, which measures other runtimes too."""

    runtime: str = setting("what runs the forward pass", "torch")

    @property
    def name(self) -> str:
        """'cpu-onnx-t2-b1-l128'."""
        return f"{self.device}-{self.runtime}-t{self.threads}-b{self.batch_size}-l{self.sequence_length}"
