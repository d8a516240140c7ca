"""The machine a number was measured on: its processor, its packages, its threads."""

import contextlib
import ctypes
import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from spaces.records.runtimes import RUNTIMES

PACKAGES = (
    "stillhouse",
    "torch",
    "transformers",
    "tokenizers",
    "ray",
    "optuna",
    "numpy",
    "scikit-learn",
    "onnxruntime",
    "openvino",
)


QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Of a container: microseconds on a core in a period, and the period."""
TASKS = Path("/proc/self/task")
FILES = "2"
"""Version of how files of other runtimes are written here: it moves their numbers as that of a package does."""
X86 = ("x86_64", "AMD64")
"""Names of that architecture on Linux and macOS, and on Windows."""
WIDE = 96
"""Width from which a model is known to gain by bf16, on a CPU that multiplies it (tests/bench/step_options.py)."""
WITHOUT_VNNI = "this processor has no VNNI: int8 is slower here, with the same numbers, than on one that has it"


@contextmanager
def pinned_threads(threads: int) -> Iterator[None]:
    """Run on this many CPU threads, then on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def give_back_memory() -> None:
    """Return to the system what the C library keeps of freed memory for later; glibc alone can be asked to."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def own_cores() -> int:
    """Cores that this process may use: those it is bound to, and no more than a container's quota of them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota_us, period_us = QUOTA.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota_us == "max" else min(cores, max(1, int(quota_us) // int(period_us)))


def waits_s() -> dict[str, float]:
    """Seconds that each thread of this process has waited for a core so far; empty where the system does not tell."""
    found = {}
    for task in TASKS.glob("*/schedstat"):
        with contextlib.suppress(OSError, IndexError, ValueError):  # a thread may have ended since
            found[task.parent.name] = int(task.read_text(encoding="ascii").split()[1]) / 1e9
    return found


def hardware(device: str = "cpu") -> str:
    """The machine in words, such as "AMD EPYC 7763, 2 cores"; cores are those we may use.

    With "cuda" also "..., NVIDIA H200": a GPU is asked for its name only where it is used.
    """
    cores = own_cores()
    parts = [cpu_model(), f"{cores} core{'s' if cores > 1 else ''}"]
    if device == "cuda" and torch.cuda.is_available():
        count = torch.cuda.device_count()
        parts.append((f"{count} x " if count > 1 else "") + torch.cuda.get_device_name(0))
    return ", ".join(parts)


def fingerprint(runtime: str, device: str = "cpu") -> str:
    """Eight hex digits that stand for the machine and the runtime's version: equal where latencies compare."""
    package = RUNTIMES[runtime].engine
    known = (hardware(device), platform.machine(), package, versions().get(package, ""))
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:8]


def versions_of(runtime: str) -> list[str | None]:
    """Versions of what writes and runs the files of a runtime: scores and costs of a file are of these."""
    known = versions()
    return [FILES, *(known.get(package) for package in RUNTIMES[runtime].moved_by)]


def cpu_model() -> str:
    """The processor's name as the system tells it, else its architecture."""
    file = Path("/proc/cpuinfo")
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or platform.machine() or "unknown CPU"


def without_vnni() -> bool:
    """Whether this is a processor of x86 that multiplies 8-bit numbers only by way of 16 bits; unknown: no."""
    file = Path("/proc/cpuinfo")
    flags = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return "avx2" in flags and "avx512_vnni" not in flags and "avx_vnni" not in flags


def multiplies_bf16() -> bool:
    """Whether this processor has products of bfloat16. Where it has none they are imitated, at a loss."""
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    return platform.machine() not in X86 or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def use_bf16(precision: str, device: torch.device, width: int) -> bool:
    """Whether a model of this width runs under bf16 autocast, where a study says "auto", "fp32" or "bf16"."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return width >= WIDE and multiplies_bf16()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can move a number; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    found["torch"] = torch.__version__  # with its build, such as "+cu130", which the metadata of some wheels leaves out
    return found
