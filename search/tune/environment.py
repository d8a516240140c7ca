"""The process around Ray: quiet settings before it is imported, and a place for what it prints all the same."""

import contextlib
import logging
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from spaces.errors import SpecError
from trainables.cache import unwritable_cache
from trainables.copies import silent_home

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("spaces", "trainables", "search", "analysis")
MAX_FOLDER = 107 - len("/ray/session_2026-01-02_03-04-05_678901_2345678/sockets/plasma_store")
"""Characters of the folder for temporary files; a socket of Linux has a path of 107 at most."""
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints its tables even at verbose=0
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # a look takes 5 ms; the default, 2 s, is paid at each end of a group
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # what asks for no GPU sees none; the default shows it all of the node
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "64",  # lanes that may start at the same time; the default is one after the other
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


def quiet_environment() -> None:
    """Must run before Ray is imported. What the user has set stays."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def private_cluster(token: str | None = None) -> None:
    """Keep a cluster of this machine's own on the loopback interface, and closed to other users of the machine.

    Ray binds to every interface unless its node has the address 127.0.0.1, and makes that address an outward one again
    when it is given as an argument; the variable, meant for systems where it supports no clusters, is the one way to
    keep it. The token lies in no file, but for that of a Ray that is kept, which is given here. Must run before Ray is
    imported. What the user has set stays.
    """
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if not any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ["RAY_AUTH_TOKEN"] = token or secrets.token_hex(32)


def import_everywhere() -> None:
    """Let the worker processes of a local cluster find the packages when they run from a checkout."""
    root = str(ROOT)
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if "site-packages" not in root and root not in known:
        os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, known)])


def refuse_machine(address: str | None = None) -> None:
    """Raise SpecError with everything that would stop any run from here, on this machine or on a cluster elsewhere."""
    here = long_folder() if address is None else ()
    if problems := [*shadowing(Path.cwd()), *unwritable_cache(), *silent_home(), *here]:
        raise SpecError(problems)


def shadowing(folder: Path) -> Iterator[str]:
    """Modules of the user's that bear the name of one of our packages.

    Ray puts the folder in which a program runs before all others on its workers' search path.
    """
    for name in PACKAGES:
        for found in (folder / f"{name}.py", folder / name / "__init__.py"):
            if found.is_file() and found.resolve() != (ROOT / name / "__init__.py"):
                yield (
                    f"{found} has the name of a package of stillhouse, and workers would import it instead: run from "
                    "another folder, or rename it"
                )


def long_folder() -> Iterator[str]:
    """Ray's sockets lie below the folder for temporary files, and their paths have a limit that the system sets."""
    names = ("RAY_TMPDIR", "TMPDIR") if sys.platform == "linux" else ("RAY_TMPDIR",)
    name = next((each for each in names if os.environ.get(each)), None)
    if name is not None and len(folder := os.environ[name]) > MAX_FOLDER:
        yield (
            f"{name} has {len(folder)} characters, and below it Ray has room for {MAX_FOLDER}: {folder}. "
            "Give Ray a short folder: export RAY_TMPDIR=/tmp"
        )


@contextlib.contextmanager
def output_to(log: Path) -> Iterator[IO[str]]:
    """Send file descriptors 1 and 2 to a log, native code and raylet included; yields the terminal for our lines."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    terminal = open(os.dup(saved[0]), "w", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed below
    handler = logging.FileHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    ours = logging.getLogger("stillhouse")
    ours.addHandler(handler)
    level, ours.propagate = ours.level, False
    ours.setLevel(logging.INFO)
    with open(log, "a", encoding="utf-8") as target:
        os.dup2(target.fileno(), 1)
        os.dup2(target.fileno(), 2)
    try:
        yield terminal
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in zip((1, 2), saved, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        ours.removeHandler(handler)
        ours.setLevel(level)
        ours.propagate = True
        handler.close()
        terminal.close()
