"""How costs are measured, as a spec writes it under [latency]."""

from dataclasses import dataclass

from spaces.settings import setting


@dataclass(frozen=True)
class LatencySpec:
    """One forward pass of the encoder, as it is timed."""

    device: str = setting("where latency is measured", "cpu", choices=("cpu", "cuda"))
    threads: int = setting("threads of the measurement", 1, at_least=1)
    batch_size: int = setting("texts at a time", 1, at_least=1)
    sequence_length: int = setting("tokens of each text", 128, at_least=1)
