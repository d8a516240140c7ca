"""Where a run of a study stands, for who looks from outside: state.json in the study folder.

It is a notice, no record: a resume reads none of it. A run that was killed leaves its last notice, so who reads it on
the same machine also looks whether the process is still there.
"""

import os
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow.fs

from spaces.errors import StillhouseError
from spaces.values import from_json

STATE = "state.json"
PREPARING, SEARCHING, SCORING, ENDED, STOPPED, FAILED = (
    "preparing", "searching", "scoring", "ended", "stopped", "failed"
)  # fmt: skip
OVER = (ENDED, STOPPED, FAILED)
"""Phases in which no process works on the study."""
GO_ON = "To go on: "
"""Before the command that goes on with a run, in the last line of one that was stopped."""
SLACK_S = 60.0
"""Between two clocks of one machine."""


@dataclass(frozen=True)
class RunState:
    """The last notice of a run."""

    phase: str
    line: str
    """what it told last"""
    host: str
    process: int
    since: str
    """UTC, ISO 8601: when the run started"""
    told: str
    """UTC, ISO 8601: when the line was told"""

    @property
    def is_here(self) -> bool:
        """Whether the run is, or was, on this machine."""
        return self.host == socket.gethostname()

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, or its process is known to be gone."""
        return self.phase in OVER or self.was_killed

    @property
    def was_killed(self) -> bool:
        """Whether it ended without a last notice."""
        return self.phase not in OVER and self.is_here and not _runs(self.process, self.since)

    @property
    def words(self) -> str:
        """Phase and last line; what is to be done when nothing works on the study any more."""
        if self.was_killed:
            return f"its process ({self.process}) is gone; it was {self.phase}: {self.line}"
        if self.phase == ENDED:
            return ENDED
        if self.line.startswith(self.phase):
            return self.line
        return f"{self.phase}: {self.line}" if self.line else self.phase


def _runs(process: int, since: str) -> bool:
    """Whether a process is there that is as old as its notice: a later one may have got its number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    started_s = _started_s(process)
    return started_s is None or started_s <= datetime.fromisoformat(since).timestamp() + SLACK_S


def _started_s(process: int) -> float | None:
    """When a process started, in seconds of Unix time; None where the system has no /proc to tell (man 5 proc)."""
    try:
        ticks = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
        lines = Path("/proc/stat").read_text().splitlines()
        booted_s = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
    except (OSError, StopIteration):
        return None
    return booted_s + ticks / os.sysconf("SC_CLK_TCK")


def read_state(filesystem: pyarrow.fs.FileSystem, folder: str) -> RunState | None:
    """The notice of a study folder, None where no run has left one. Raises StillhouseError for what is no notice."""
    path = f"{folder}/{STATE}"
    if filesystem.get_file_info(path).type != pyarrow.fs.FileType.File:
        return None
    with filesystem.open_input_stream(path) as file:
        text = file.read().decode()
    try:
        return from_json(RunState, text)
    except (TypeError, ValueError) as error:
        raise StillhouseError(f"{path} cannot be read: {error}") from None
