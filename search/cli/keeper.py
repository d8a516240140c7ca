"""The commands up and down, and the process that keeps a Ray between them.

The keeper starts Ray as a study of this machine alone does, so that it is closed in the same way, and ends it when
nobody uses it any more. Should the keeper be killed, its Ray ends with it.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from search.cli.arguments import parse_count, parse_number
from search.cli.seeing import say
from spaces.errors import StillhouseError

START_WITHIN_S, END_WITHIN_S = 120.0, 60.0
LOOK_EVERY_S, KEEPER_LOOKS_EVERY_S = 0.05, 1.0


def up(args: argparse.Namespace) -> None:
    """Start the process that keeps a Ray, and wait until it is there. Raises StillhouseError when it does not start."""
    from search.tune.environment import import_everywhere, quiet_environment, refuse_machine
    from search.tune.kept_ray import LOG, cache_variable, kept_folder, read_kept

    refuse_machine()
    if (kept := read_kept()) is not None:
        raise StillhouseError(
            f"a Ray of `stillhouse up` runs here already: process {kept.process}, {kept.cpus} CPUs. "
            "To end it: stillhouse down"
        )
    folder = kept_folder()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    quiet_environment()
    import_everywhere()
    words = [str(args.idle_minutes), *([] if args.cpus is None else [str(args.cpus)])]
    with open(folder / LOG, "w", encoding="utf-8") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "search.cli.keeper", *words], cwd=folder, start_new_session=True,
            env=os.environ | {"STILLHOUSE_CACHE": cache_variable()}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    until = time.monotonic() + START_WITHIN_S
    while (kept := read_kept()) is None and keeper.poll() is None and time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
    if kept is None:
        keeper.terminate()
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise StillhouseError(f"Ray did not start: {lines[-1] if lines else 'no word'} (all of it: {folder / LOG})")
    say(
        f"Ray is up with {kept.cpus} CPUs, for this user on this machine alone (process {kept.process}). `run`, "
        f"`resume`, `confirm` and `promote` use it; it ends after {args.idle_minutes:g} minutes without a study, or by "
        "`stillhouse down`"
    )


def down(args: argparse.Namespace) -> None:
    """End the kept Ray and all of its processes. Raises StillhouseError while a study uses it."""
    from search.tune.kept_ray import ALIVE, USED, hold, is_free, kept_folder, read_kept, user

    if (kept := read_kept()) is None:
        say("no Ray of `stillhouse up` runs here")
        return
    folder = kept_folder()
    if hold(folder / USED) is None:  # until this process ends: no study may begin now
        raise StillhouseError(
            f"process {user()} uses the Ray of `stillhouse up`: stop its study first (stillhouse stop DIR)"
        )
    os.kill(kept.process, signal.SIGTERM)
    until = time.monotonic() + END_WITHIN_S
    while not is_free(folder / ALIVE):
        if time.monotonic() > until:
            raise StillhouseError(f"process {kept.process} still runs after {END_WITHIN_S:g} s; try again")
        time.sleep(LOOK_EVERY_S)
    shutil.rmtree(folder, ignore_errors=True)
    say("Ray has ended")


def keep(idle_minutes: float, cpus: int | None) -> None:
    """Start a Ray, and end it at SIGTERM or when no study has used it for so long."""
    from search.tune.environment import private_cluster
    from search.tune.kept_ray import ALIVE, RECORD, USED, KeptRay, alike, hold, kept_folder
    from spaces.values import to_json

    folder = kept_folder()
    if hold(folder / ALIVE) is None:
        raise SystemExit("another process keeps a Ray here")
    common = alike()
    private_cluster()
    import ray  # after its settings

    from search.tune.cluster import start
    from search.tune.leftovers import end_with_workers

    ended = threading.Event()

    def end(number: int, frame: Any) -> None:
        ended.set()

    start(cpus)
    signal.signal(signal.SIGTERM, end)  # in place of what Ray has put there
    try:
        address = ray.get_runtime_context().gcs_address
        count = int(ray.cluster_resources().get("CPU", 0))
        kept = KeptRay(address, os.environ.get("RAY_AUTH_TOKEN", ""), os.getpid(), count, idle_minutes, common)
        write(folder / RECORD, to_json(kept))
        used_s = time.monotonic()
        while not ended.wait(KEEPER_LOOKS_EVERY_S):
            if (descriptor := hold(folder / USED)) is None:
                used_s = time.monotonic()
                continue
            if time.monotonic() - used_s > 60 * idle_minutes:
                break  # with the lock: no study may begin on what is about to end
            os.close(descriptor)
    finally:
        end_with_workers(ray.shutdown)


def write(path: Path, text: str) -> None:
    """As a whole, and for this user alone."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)


def add_up(parser: argparse.ArgumentParser) -> None:
    """Arguments of `up`."""
    parser.add_argument(
        "--idle-minutes", type=parse_number, default=60.0, metavar="N", help="it ends after so long without a study; "
        "default 60",
    )  # fmt: skip
    parser.add_argument("--cpus", type=parse_count, metavar="N", help="CPUs that studies may use; default all")


def add_down(parser: argparse.ArgumentParser) -> None:
    """`down` takes no arguments."""


if __name__ == "__main__":
    keep(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
