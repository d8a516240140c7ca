"""What a student costs: an entry for each cost says all that tables, limits, figures, cards and commands need.

A cost is a number of the trials table, smaller is better. It follows from the student's shape (`known`, before a trial
starts), is measured on a student (`measured`), or follows from what else its configuration says (`chosen`). Packages
add costs through entry points of the group stillhouse.costs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from spaces.errors import StillhouseError
from spaces.records.deploy import DeploySpec
from spaces.records.latency import REFUSED, STEADY, LatencySpec
from spaces.records.runtimes import FILE_RUNTIMES, RUNTIMES, TORCH
from spaces.records.schemas import FLOAT, INT, Column
from spaces.registry import Registry
from spaces.students.architecture import (
    StudentArchitecture,
    TeacherFacts,
    count_parameters,
    embedding_width,
    flops_per_token,
)

T = TypeVar("T")
Known = Callable[[StudentArchitecture, TeacherFacts, LatencySpec], Mapping[str, float]]
"""From a shape, the teacher and how latency is measured -> the values of a cost's columns."""
Chosen = Callable[[Mapping[str, Any], TeacherFacts], Mapping[str, float]]
"""From a configuration and the teacher -> the values of a cost's columns."""


@dataclass(frozen=True)
class Subject:
    """A student of which costs are measured. Its weights may be untrained: a cost is one of the shape."""

    architecture: StudentArchitecture
    teacher: TeacherFacts
    latency: LatencySpec
    model: Any
    """the encoder, a model of transformers, in evaluation mode on `latency.device`"""
    forward: Callable[[], object]
    """one forward pass over texts as `latency` has them, on as many threads as it says, by `deploy.runtime`"""
    folder: Callable[[], Path]
    """writes the model as `save_pretrained` does, the first time it is called; the folder is gone after measuring"""
    deploy: DeploySpec = field(default_factory=DeploySpec)
    file: Path | None = None
    """what `forward` runs under another runtime than torch"""
    unrounded: "Subject | None" = None
    """the same before its numbers were rounded, where they are"""
    lengths: tuple[int, ...] = ()
    """of the texts that `forward` takes by turns; none: all are `latency.sequence_length` long"""
    passes: Callable[[Sequence[Sequence[int]]], Callable[[], object]] | None = None
    """`forward` over other batches, each given by the lengths of its texts, by turns"""

    @property
    def turns(self) -> int:
        """How many calls of `forward` differ."""
        return max(1, -(-len(self.lengths) // self.latency.batch_size))


@dataclass(frozen=True)
class Cost:
    """One cost of a student, and everything that is said of it anywhere."""

    name: str
    """in specs, limits, flags and reports"""
    label: str
    """in words, as in figures: 'median latency'"""
    head: str
    """of a narrow column of a table: 'ms'"""
    decimals: int
    """0: a count, shown with k, M and G"""
    columns: tuple[Column, ...]
    """of the trials table: the cost itself, and what is found along with it"""
    known: Known | None = None
    measured: str | Callable[[Subject], Mapping[str, float | None]] | None = None
    """like `known`; "module:function" is imported when something is measured"""
    chosen: Chosen | None = None
    """what students of one shape may differ in; only of studies whose students embed texts"""
    moves: str = ""
    """the column that tells by what share it moved while it was measured; empty: it cannot"""
    inverse: str = ""
    """what people say of its reciprocal against the teacher: 'speed'; empty: they say shares"""
    runtimes: tuple[str, ...] = tuple(RUNTIMES)
    """under which it is measured"""
    unrounded: str = ""
    """the column of the same before numbers were rounded, where it differs; null where they are not"""
    direction: ClassVar[Literal["min"]] = "min"

    @property
    def column(self) -> str:
        """The column of the cost itself."""
        return self.columns[0].name

    def is_steady(self, row: Mapping[str, Any]) -> bool:
        """Whether its value in a row can be relied on, as far as that is known."""
        return not self.moved(row) > STEADY

    def is_refused(self, row: Mapping[str, Any]) -> bool:
        """Whether its value in a row moved so much that it says nothing."""
        return self.moved(row) > REFUSED

    def moved(self, row: Mapping[str, Any]) -> float:
        """By what share of it its value in a row moved while it was measured; 0 where that is not known."""
        return row.get(self.moves) or 0.0

    @property
    def unit(self) -> str:
        """Of its column."""
        return self.columns[0].unit

    @property
    def title(self) -> str:
        """Label and unit: 'median latency, ms'."""
        return self.unit if self.label in self.unit else f"{self.label}, {self.unit}"

    @property
    def amount(self) -> str:
        """What a number of it is followed by: 'ms of median latency'."""
        return self.unit if self.label in self.unit else f"{self.unit} of {self.label}"

    @property
    def limit(self) -> str:
        """The name of a limit on it: 'max_latency_ms'; the flag of commands is made of it."""
        return f"max_{self.name}"

    def measure(self, subject: Subject) -> Mapping[str, float | None]:
        """The values of its columns, by `measured`."""
        assert self.measured is not None, f"{self.name} is not measured"
        if isinstance(self.measured, str):
            module, _, function = self.measured.partition(":")
            return self.checked(getattr(import_module(module), function)(subject))
        return self.checked(self.measured(subject))

    def checked(self, found: Mapping[str, T]) -> Mapping[str, T]:
        """What was found, if it is a value for each column. Raises StillhouseError."""
        columns = [column.name for column in self.columns]
        if sorted(found) != sorted(columns):
            raise StillhouseError(
                f"cost {self.name!r} must give {', '.join(columns)}, got {', '.join(found) or 'nothing'}"
            )
        return found


def known_parameters(
    architecture: StudentArchitecture, teacher: TeacherFacts, latency: LatencySpec
) -> Mapping[str, float]:
    """With and without embeddings."""
    return {
        "parameters": count_parameters(architecture, teacher),
        "parameters_without_embeddings": count_parameters(architecture, teacher, embeddings=False),
    }


def known_flops(architecture: StudentArchitecture, teacher: TeacherFacts, latency: LatencySpec) -> Mapping[str, float]:
    """Of a forward pass over a sequence as long as latency is measured on."""
    return {"flops_per_token": flops_per_token(architecture, teacher, latency.sequence_length)}


def index_columns(config: Mapping[str, Any], teacher: TeacherFacts) -> Mapping[str, float]:
    """Four bytes for each value of an embedding."""
    return {"index_mib": 4 * embedding_width(config, teacher) * 1e6 / 2**20}


PARAMETERS = Cost(
    name="parameters",
    label="parameters",
    head="params",
    decimals=0,
    columns=(
        Column("parameters", INT, "parameters", "parameters of the exported encoder, embeddings included"),
        Column("parameters_without_embeddings", INT, "parameters", "parameters of the Transformer layers"),
    ),
    known=known_parameters,
)
LATENCY = Cost(
    name="latency_ms",
    label="median latency",
    head="ms",
    decimals=2,
    columns=(
        Column("latency_p50_ms", FLOAT, "ms", "median latency of one forward pass"),
        Column("latency_p95_ms", FLOAT, "ms", "95th percentile of the latency of one forward pass"),
        Column(
            "latency_moved",
            FLOAT,
            "share",
            "by what share the median latency moved while it was measured: between rounds, or by waiting for a core",
            since=2,
        ),
        Column("float_latency_ms", FLOAT, "ms", "median latency of the file in fp32, where it is rounded", since=2),
    ),
    moves="latency_moved",
    unrounded="float_latency_ms",
    measured="trainables.export.measuring:latency_columns",
    inverse="speed",
)
THROUGHPUT = Cost(
    name="text_ms",
    label="time per text of many",
    head="ms/text",
    decimals=2,
    columns=(
        Column(
            "text_ms", FLOAT, "ms", "time per text in batches of `[latency] throughput_batch`, by like length", since=2
        ),
    ),
    measured="trainables.export.throughput:throughput_columns",
    inverse="throughput",
)
FLOPS = Cost(
    name="flops",
    label="FLOPs",
    head="FLOPs",
    decimals=0,
    columns=(
        Column("flops_per_token", INT, "FLOPs per token", "forward FLOPs per token at the latency sequence length"),
    ),
    known=known_flops,
)
PEAK_MEMORY = Cost(
    name="peak_memory_mib",
    label="peak memory",
    head="MiB",
    decimals=1,
    columns=(Column("peak_memory_mib", FLOAT, "MiB", "peak memory of the forward pass"),),
    measured="trainables.export.measuring:peak_memory_columns",
    runtimes=(TORCH,),
)
MEMORY = Cost(
    name="memory_mb",
    label="resident memory",
    head="MB resident",
    decimals=0,
    columns=(
        Column(
            "memory_mb",
            FLOAT,
            "MB",
            "peak resident memory of a fresh process that loads what is deployed and runs one batch",
            since=2,
        ),
    ),
    measured="trainables.export.resident:memory_columns",
)
DISK = Cost(
    name="disk_mb",
    label="file size",
    head="MB",
    decimals=1,
    columns=(
        Column("disk_mb", FLOAT, "MB", "size of the file that the runtime reads", since=2),
        Column("float_disk_mb", FLOAT, "MB", "size of the file in fp32, where it is rounded", since=2),
    ),
    measured="trainables.export.measuring:disk_columns",
    runtimes=FILE_RUNTIMES,
    unrounded="float_disk_mb",
)

INDEX = Cost(
    name="index_mib",
    label="index of a million texts",
    head="index",
    decimals=0,
    columns=(
        Column("index_mib", FLOAT, "MiB", "embeddings of a million texts as float32, in studies that embed", since=2),
    ),
    chosen=index_columns,
)

OWN = (PARAMETERS, LATENCY, THROUGHPUT, FLOPS, PEAK_MEMORY, MEMORY, DISK, INDEX)
COSTS: Registry[Cost] = Registry(Cost, "stillhouse.costs", {cost.name: cost for cost in OWN})
"""In the order in which they are shown."""


def columns_of_costs() -> tuple[Column, ...]:
    """The columns of all costs; those of other packages are null in what was written without the package."""
    own = [column for cost in OWN for column in cost.columns]
    others = [column for cost in COSTS.values() if cost not in OWN for column in cost.columns]
    return (*own, *(replace(column, since=max(2, column.since)) for column in others))


def known_costs(architecture: StudentArchitecture, teacher: TeacherFacts, latency: LatencySpec) -> dict[str, float]:
    """By column, what follows from the shape."""
    found: dict[str, float] = {}
    for cost in COSTS.values():
        if cost.known is not None:
            found |= cost.checked(cost.known(architecture, teacher, latency))
    return found


def chosen_costs(config: Mapping[str, Any], teacher: TeacherFacts) -> dict[str, float]:
    """By column, what follows from a configuration beyond its shape; of a student that embeds texts."""
    found: dict[str, float] = {}
    for cost in COSTS.values():
        if cost.chosen is not None:
            found |= cost.checked(cost.chosen(config, teacher))
    return found
