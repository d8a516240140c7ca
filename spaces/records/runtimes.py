"""What can run a student where it is used: an entry for each runtime says all that the rest asks of it.

A runtime but torch reads a file of its own. All files are made from one ONNX graph (trainables/export/graphs.py), which
is quantised as the precision says; `writes` turns that graph into what another runtime reads. A further runtime is a
further entry, with functions like those that the others name.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from spaces.errors import SpecError, StillhouseError

TORCH, ONNX, OPENVINO = "torch", "onnx", "openvino"
FLOAT_PRECISION = "fp32"
KEEPING = ("int8", "int8-dynamic", "int4-weights")
"""Precisions of which int8+4 is one with the 4 maps in float whose rounding moves embeddings most."""
BY_ONNX = ("onnx", "onnxscript", "onnxruntime")
"""Packages that write the graph."""


@dataclass(frozen=True)
class Runtime:
    """One runtime. Texts "module:name" are imported when they are first needed."""

    title: str
    """in words"""
    engine: str
    """the package that runs it, and that a latency depends on"""
    devices: tuple[str, ...]
    """that it is measured on"""
    files: Mapping[str, str] = field(default_factory=dict)
    """by precision, whichever maps are in float, the name that others look for; none: it runs the weights themselves"""
    folder: str = ""
    """of these files, inside the folder of a student"""
    beside: tuple[str, ...] = ()
    """suffixes of what belongs to a file and lies beside it under its name"""
    needs: tuple[str, ...] = ()
    """packages; the extra that installs them is called as the runtime is"""
    moved_by: tuple[str, ...] = ()
    """packages that write or run a file, whose versions can move its numbers"""
    opens: str = ""
    """(file, threads, device, names of further outputs) -> Session"""
    writes: str = ""
    """(ONNX graph, file to write), where the file is not that graph"""
    inspects: str = ""
    """file -> Inside"""
    sample: str = ""
    """the lines of a program that runs a file: a Sample"""
    loaded_by: str = ""
    """who else finds the file where it lies, as the card says it"""
    refused: Mapping[str, str] = field(default_factory=dict)
    """precisions that others have and this one has not, and why"""

    @property
    def example(self) -> str:
        """The program beside a file that embeds texts with it."""
        return f"{self.folder}_example.py"

    @property
    def precisions(self) -> tuple[str, ...]:
        """What it has files in."""
        return tuple(self.files) or (FLOAT_PRECISION,)

    def file(self, precision: str) -> str:
        """The name of its file in a precision, such as int8+4."""
        return self.files[base_of(precision)]

    def size_mb(self, file: Path) -> float:
        """Of a file and what belongs to it."""
        return sum(part.stat().st_size for part in self.parts(file)) / 1e6

    def parts(self, file: Path) -> list[Path]:
        """A file and what belongs to it."""
        return [file, *(file.with_suffix(suffix) for suffix in self.beside)]


RUNTIMES: dict[str, Runtime] = {
    TORCH: Runtime("torch", "torch", ("cpu", "cuda"), moved_by=("torch",)),
    ONNX: Runtime(
        title="ONNX",
        engine="onnxruntime",
        devices=("cpu", "cuda"),
        files={
            FLOAT_PRECISION: "model.onnx",
            "fp16": "model_fp16.onnx",
            "int8": "model_quantized.onnx",
            "int8-dynamic": "model_quantized.onnx",
            "int4-weights": "model_q4.onnx",
        },
        folder="onnx",
        needs=BY_ONNX,
        moved_by=("onnxruntime",),
        opens="trainables.models.sessions:by_onnxruntime",
        inspects="trainables.export.inside:of_onnx",
        sample="trainables.export.examples:WITH_ONNXRUNTIME",
        loaded_by="optimum loads it from here, and transformers.js looks for this name",
    ),
    OPENVINO: Runtime(
        title="OpenVINO",
        engine="openvino",
        devices=("cpu",),
        files=dict.fromkeys((FLOAT_PRECISION, "fp16", "int8", "int4-weights"), "openvino_model.xml"),
        folder="openvino",
        beside=(".bin",),
        needs=(*BY_ONNX, "openvino"),
        moved_by=("onnxruntime", "openvino"),
        opens="trainables.models.sessions:by_openvino",
        writes="trainables.export.openvino_files:write_ir",
        inspects="trainables.export.inside:of_openvino",
        sample="trainables.export.examples:WITH_OPENVINO",
        loaded_by='sentence-transformers (`backend="openvino"`) and optimum-intel look for it here',
        refused={
            "int8-dynamic": "OpenVINO multiplies the integers of such a file in float32, slower than fp32: "
            "int8 has fixed scales"
        },
    ),
}
"""In the order in which they are offered."""
FILE_RUNTIMES = tuple(name for name, runtime in RUNTIMES.items() if runtime.files)
PRECISIONS = tuple(dict.fromkeys(each for runtime in RUNTIMES.values() for each in runtime.files))
"""Of all files."""
REFUSED_PRECISIONS = {
    "bf16": "onnxruntime multiplies no matrices in bfloat16 on a CPU, OpenVINO only on a processor that has it; fp16 "
    "is as small, and has more digits"
}
"""Precisions that no runtime here has, and why."""
WITH_FLOAT = rf"({'|'.join(KEEPING)})\+[1-9][0-9]*"
"""Precisions beside PRECISIONS, as a pattern."""


def base_of(precision: str) -> str:
    """'int8' of 'int8+4'."""
    return precision.partition("+")[0]


def maps_in_float(precision: str) -> int:
    """4 of 'int8+4': how many maps stay in float, all where there are fewer; 0 of 'int8'."""
    return int(precision.partition("+")[2] or 0)


def why_refused(precision: str) -> str:
    """Why what somebody may well ask for is no precision, and what comes nearest; '' of what is one or is unknown."""
    base, plus, number = precision.partition("+")
    if base in REFUSED_PRECISIONS:
        return REFUSED_PRECISIONS[base]
    if not plus or base not in PRECISIONS or re.fullmatch(WITH_FLOAT, precision):
        return ""
    told = "+ says how many maps stay in float, those whose rounding moves embeddings most"
    if base not in KEEPING:
        return f"{told}; {base} rounds none to integers. Take {base}, or + after {' or '.join(KEEPING)}"
    nearest = int(number) if number.isdecimal() else 0
    return f"{told}: a whole number from 1. Take {base}+{max(nearest, 1)}, or {base} with none"


PRECISION_RULES: Mapping[str, Any] = {"choices": PRECISIONS, "pattern": WITH_FLOAT, "refused": why_refused}
"""Of a setting."""


def entry(place: str) -> Any:
    """What "module:name" of a runtime stands for."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def opener(runtime: str) -> Callable[..., Any]:
    """What opens a file of a runtime."""
    return entry(RUNTIMES[runtime].opens)


def what_lacks(runtime: str) -> list[str]:
    """A line for each package that a runtime needs and that is not installed."""
    return [
        f"runtime {runtime!r} needs the package {package}: pip install 'stillhouse[{runtime}]'"
        for package in RUNTIMES[runtime].needs
        if find_spec(package) is None
    ]


def need_runtime(runtime: str, device: str = "cpu") -> None:
    """Raises StillhouseError for a package that is missing, or a device that the runtime is not measured on."""
    if lines := what_lacks(runtime):
        raise StillhouseError(lines[0])
    if device not in RUNTIMES[runtime].devices:
        raise StillhouseError(f"runtime {runtime!r} is measured on {' or '.join(RUNTIMES[runtime].devices)} only")


def why_not(runtime: str, precision: str, choose: str) -> str:
    """What stands against a precision under a runtime, and what to take; '' where nothing does.

    choose: how a runtime is chosen where this is read, such as '--runtime {}'.
    """
    own, base = RUNTIMES[runtime], base_of(precision)
    if base in own.precisions:
        return ""
    if why := own.refused.get(base):
        return f"{precision!r} under {runtime!r}: {why}. Take one of {', '.join(own.precisions)}"
    having = " or ".join(choose.format(name) for name in FILE_RUNTIMES if base in RUNTIMES[name].files)
    return f"{precision!r} is of a file for another runtime than {runtime!r}: add {having}"


def check_precision(runtime: str, precision: str) -> None:
    """Raises SpecError for a precision that the runtime has no file in."""
    if why := why_not(runtime, precision, "--runtime {}"):
        raise SpecError([f"--precision {why}"])
