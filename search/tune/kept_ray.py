"""The Ray that `stillhouse up` keeps running on this machine: where that is written down, and who may use it.

It belongs to a cache, a user and a machine. Of its two locks one is held by the process that keeps it, for as long as
it runs, the other by the study that uses it: who may have ended in any way needs no pid to be believed. The token that
lets a driver in stands in a file that only its user can read.
"""

import fcntl
import importlib.metadata
import os
import platform
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from search.tune.environment import PACKAGES, ROOT
from spaces.telling import Say
from spaces.values import from_json
from trainables.cache import cache_folder, digest

ALIVE, USED, RECORD, LOG = "alive", "used", "ray.json", "log.txt"
INSTALLED = ("stillhouse", "ray", "torch", "transformers")
MATTERS = (
    "RAY_", "TUNE_", "STILLHOUSE_", "PYTHON", "HF_", "HUGGINGFACE_", "TRANSFORMERS_", "TOKENIZERS_", "TORCH",
    "PYTORCH_", "CUDA_", "NVIDIA_", "NCCL_", "OMP_", "MKL_", "OPENBLAS_", "LD_", "AWS_", "GOOGLE_", "AZURE_", "HTTP",
    "HOME", "XDG_CACHE", "TMPDIR",
)  # fmt: skip
"""How variables begin that workers read; those of a kept Ray have the environment of `stillhouse up`."""
OWN = "RAY_AUTH_TOKEN"
"""What the kept Ray has of its own."""
LOOKS, LOOK_EVERY_S = 20, 0.05
"""The keeper holds the lock for a moment whenever it looks whether anybody uses its Ray."""
RENEW = "stillhouse down, then stillhouse up, renews it"


@dataclass(frozen=True)
class KeptRay:
    """A Ray that runs on this machine and waits for a study."""

    address: str
    token: str
    process: int
    """The one that keeps it."""
    cpus: int
    idle_minutes: float
    """It ends when no study has used it for so long."""
    alike: Mapping[str, str]
    """What it has to have in common with a driver."""


def kept_folder() -> Path:
    """Of this user and this machine; several machines may share a cache."""
    return cache_folder().absolute() / "up" / f"{socket.gethostname()}-{os.getuid()}"


def alike() -> dict[str, str]:
    """Versions, code and environment. Of variables digests alone: credentials may be among them."""
    found = {"Python": f"{platform.python_version()} in {sys.prefix}", "code": code_digest()}
    for package in INSTALLED:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "none"
    for name, value in os.environ.items():
        if name.upper().startswith(MATTERS) and name != OWN:
            found[f"${name}"] = digest(value)
    found["$STILLHOUSE_CACHE"] = digest(cache_variable())
    return found


def cache_variable() -> str:
    """What STILLHOUSE_CACHE has to be where another folder is the current one."""
    given = os.environ.get("STILLHOUSE_CACHE", "")
    return given if "://" in given else str(cache_folder().absolute())


def code_digest() -> str:
    """Moves when a file of ours does: workers that run may have read it before."""
    paths = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
    return digest(*((path, (seen := path.stat()).st_size, seen.st_mtime_ns) for path in paths))


def differences(kept: KeptRay, own: Mapping[str, str]) -> list[str]:
    """In what a driver and the kept Ray differ, a few words each."""
    names = sorted(name for name in {*kept.alike, *own} if kept.alike.get(name) != own.get(name))
    versions = {"Python", *INSTALLED}
    return [f"{name} {kept.alike[name]}, not {own[name]}" if name in versions else f"other {name}" for name in names]


def read_kept() -> KeptRay | None:
    """The Ray that is kept here; None where none is. What a keeper that was killed has left is removed."""
    folder = kept_folder()
    try:
        text = (folder / RECORD).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    if is_free(folder / ALIVE):
        (folder / RECORD).unlink(missing_ok=True)
        return None
    return from_json(KeptRay, text)


def take(say: Say) -> KeptRay | None:
    """The Ray that is kept here, for this process alone until it ends; None, and a line that says why, if it cannot be.

    Must run before the driver's own settings of Ray's token.
    """
    was_there = (kept_folder() / RECORD).exists()
    kept = read_kept()
    if kept is None:
        if was_there:
            say("the Ray of `stillhouse up` has gone: this run starts its own")
        return None
    if found := differences(kept, alike()):
        shown = "; ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        say(f"the Ray of `stillhouse up` does not fit ({shown}): this run starts its own. {RENEW}")
        return None
    for _ in range(LOOKS):
        if hold(kept_folder() / USED):
            say(f"on the Ray of `stillhouse up` (process {kept.process}, {kept.cpus} CPUs)")
            return kept
        time.sleep(LOOK_EVERY_S)
    say(f"the Ray of `stillhouse up` is in use by process {user()}: this run starts its own")
    return None


def user() -> str:
    """The process of the study that uses the kept Ray."""
    return (kept_folder() / USED).read_text(encoding="ascii") or "unknown"


def hold(path: Path) -> int | None:
    """Lock a file until this process ends, and write its number into it; the descriptor. None: another has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def is_free(path: Path) -> bool:
    """Whether no process holds this lock at the moment."""
    if (descriptor := hold(path)) is None:
        return False
    os.close(descriptor)
    return True
