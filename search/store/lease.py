"""One driver at a time: a lock on a disk, and a lease on an object store, which has no locks.

A lease is a small object that the driver renews while it runs. Nothing in it is compared with a clock of another
machine. Who finds one watches it: if it changes, its driver is alive, and the study is refused; if it stays as it is
for STALE_S, its driver is gone, and the lease is taken over. An object store cannot write on a condition, so whoever
has written a lease reads it back after SETTLE_S, and a driver that finds another's name in its place writes nothing
more.
"""

import fcntl
import getpass
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pyarrow.fs as pafs

from spaces.errors import StillhouseError

LOG = logging.getLogger("stillhouse.lease")
RENEW_S = 15.0
STALE_S = 60.0
"""Four renewals missed."""
SETTLE_S = 1.0


class Lease:
    """The right of one driver to write a study. `path` is where it stands, `folder` what a person calls the study."""

    def __init__(self, filesystem: pafs.FileSystem, path: str, folder: str) -> None:
        self.filesystem, self.path, self.folder = filesystem, path, folder
        self.id, self.since = uuid.uuid4().hex, _now()
        self.lost_to = ""
        """Who has taken the study over; empty while it is ours."""
        self._ended = threading.Event()

    def check(self) -> None:
        """Raises StillhouseError once another driver has taken the study over."""
        if self.lost_to:
            raise StillhouseError(
                f"{self.lost_to} has taken over the study in {self.folder}, since this process could not renew its "
                f"lease for {STALE_S:g} s. Nothing that was recorded is lost; this process writes nothing more"
            )

    def take(self, say: Callable[[str], None]) -> None:
        """Wait until an earlier lease has proved stale, then write ours. StillhouseError: its driver is alive."""
        if (found := self._read()) is not None:
            say(f"{found['who']} holds {self.folder}; waiting up to {STALE_S:g} s to see whether it still runs")
            self._watch(found)
        self._write()
        time.sleep(SETTLE_S)
        if (holder := self._read()) is not None and holder["id"] != self.id:
            self._refuse(holder)

    def renew_until_released(self) -> None:
        """What a thread does while the study runs."""
        while not self.lost_to and not self._ended.wait(RENEW_S):
            self.renew()

    def renew(self) -> None:
        """Say that the driver is alive, unless another has taken over."""
        try:
            holder = self._read()
            if holder is not None and holder["id"] != self.id:
                self.lost_to = holder["who"]
                LOG.error("%s has taken over %s", self.lost_to, self.folder)
                return
            self._write()
        except OSError as error:
            LOG.warning("the lease of %s was not renewed: %s", self.folder, error)

    def release(self, renewing: threading.Thread) -> None:
        """Take the object away, if it is ours, after the last renewal: one that came later would bring it back."""
        self._ended.set()
        renewing.join(STALE_S)
        try:
            if (holder := self._read()) is not None and holder["id"] == self.id:
                self.filesystem.delete_file(self.path)
        except OSError as error:
            LOG.warning("the lease of %s stays (%s); it ends by itself in %g s", self.folder, error, STALE_S)

    def _watch(self, found: dict[str, Any]) -> None:
        until = time.monotonic() + STALE_S
        while time.monotonic() < until:
            time.sleep(min(1.0, RENEW_S / 4))
            if (now := self._read()) is None:
                return
            if now != found:
                self._refuse(now)

    def _refuse(self, holder: dict[str, Any]) -> None:
        raise StillhouseError(
            f"another stillhouse process is running the study in {self.folder}: {holder['who']}, since "
            f"{holder['since']}; wait for it or stop it first"
        )

    def _read(self) -> dict[str, Any] | None:
        try:
            with self.filesystem.open_input_stream(self.path) as stream:
                found = json.loads(stream.readall())
        except FileNotFoundError:
            return None
        except ValueError:
            found = {}
        found = found if isinstance(found, dict) else {}
        return {"id": "", "who": "somebody", "since": "an unknown time", **found}

    def _write(self) -> None:
        text = json.dumps({"id": self.id, "who": who(), "since": self.since, "renewed": _now()})
        with self.filesystem.open_output_stream(self.path) as stream:
            stream.write(text.encode())


@contextmanager
def leased(filesystem: pafs.FileSystem, path: str, folder: str, say: Callable[[str], None]) -> Iterator[Lease]:
    """Hold a lease for the time of a block."""
    lease = Lease(filesystem, path, folder)
    lease.take(say)
    thread = threading.Thread(target=lease.renew_until_released, daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        lease.release(thread)


@contextmanager
def file_lock(path: str, folder: str) -> Iterator[None]:
    """The same on a disk: a lock that ends with the process. StillhouseError: another process has it."""
    with open(path, "a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StillhouseError(
                f"another stillhouse process is running the study in {folder}; wait for it or stop it first"
            ) from None
        except OSError:
            pass  # the filesystem has no locks (some network mounts): one driver at a time is then up to the user
        yield


def who() -> str:
    """User, host and process, for a person who looks for it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have them
        user = f"user {os.getuid()}"
    return f"{user}@{socket.gethostname()}, process {os.getpid()}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
