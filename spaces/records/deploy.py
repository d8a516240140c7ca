"""What a student runs as where it is used."""

from dataclasses import dataclass, replace

from spaces.records.runtimes import FLOAT_PRECISION, PRECISION_RULES, RUNTIMES, TORCH, base_of
from spaces.settings import setting

BY_VNNI = ("int8", "int8-dynamic")
"""Precisions whose speed is that of a processor's 8-bit products."""
ARTEFACT, STUDENT = "artefact", "student"


@dataclass(frozen=True)
class DeploySpec:
    """`[deploy]` of a spec: what is handed over, and so what is scored, timed and sized."""

    runtime: str = setting("what runs the student where it is used", TORCH, choices=tuple(RUNTIMES))
    precision: str | tuple[str, ...] = setting(
        "of its weights and maps, under onnx and openvino; int8+4: the 4 maps stay in float whose rounding moves "
        "embeddings most, or all where there are fewer; a list: each student is a candidate of the front in each; "
        "rungs and limits before a trial go by the first",
        FLOAT_PRECISION,
        **PRECISION_RULES,
    )
    tolerance: float = setting(
        "of export: how far the mean cosine of its embeddings to those of the student in torch may be from 1",
        0.02,
        above=0,
    )
    quality_of: str = setting(
        "what is scored: artefact, the file for the runtime; student, its weights in torch",
        ARTEFACT,
        choices=(ARTEFACT, STUDENT),
    )

    @property
    def precisions(self) -> tuple[str, ...]:
        """All of them, in their order."""
        return (self.precision,) if isinstance(self.precision, str) else self.precision

    @property
    def first(self) -> str:
        """The precision that the search goes by, and the only one of what is written or measured at a time."""
        return self.precisions[0]

    @property
    def each(self) -> "tuple[DeploySpec, ...]":
        """The same in one precision at a time, in their order."""
        return tuple(replace(self, precision=each) for each in self.precisions)

    def of(self, precision: str | None) -> "DeploySpec":
        """The same in one precision; as it is for None, which rows have where there is one only."""
        return self if precision is None else replace(self, precision=precision)

    @property
    def is_file(self) -> bool:
        """Whether another runtime than torch runs a file of its own."""
        return bool(RUNTIMES[self.runtime].files)

    @property
    def place(self) -> str:
        """Of its file in the first precision, inside the folder of a student."""
        return f"{RUNTIMES[self.runtime].folder}/{RUNTIMES[self.runtime].file(self.first)}"

    @property
    def is_rounded(self) -> bool:
        """Whether its numbers are not those that were trained, in any precision."""
        return self.precisions != (FLOAT_PRECISION,)

    @property
    def gains_by_vnni(self) -> bool:
        """Whether a processor without VNNI is slower by it than others."""
        return any(base_of(each) in BY_VNNI for each in self.precisions)

    @property
    def is_scored(self) -> bool:
        """Whether scores are those of its file."""
        return self.is_file and self.quality_of == ARTEFACT

    @property
    def name(self) -> str:
        """'onnx int8', 'onnx fp32 and int8'; 'torch'."""
        return f"{self.runtime} {' and '.join(self.precisions)}" if self.is_file else self.runtime
