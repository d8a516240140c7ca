"""Telling a person a line, and leaving it in the study folder for who looks from outside (spaces/records/state.py)."""

import dataclasses
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from search.store.parts import Store, now
from spaces.records.state import FAILED, PREPARING, STATE, STOPPED, RunState
from spaces.values import to_json


class Notice:
    """The state of the run that this process is. Written by the driver that holds the study."""

    def __init__(self, store: Store, say: Callable[[str], None]) -> None:
        self.store, self.tell = store, say
        started = now().isoformat(timespec="seconds")
        self.state = RunState(PREPARING, "", socket.gethostname(), os.getpid(), started, started)

    def say(self, line: str) -> None:
        """Tell a line and leave it in the folder."""
        self.tell(line)
        self.write(self.state.phase, line)

    def enter(self, phase: str) -> None:
        """Go on to another phase."""
        self.write(phase, self.state.line)

    def write(self, phase: str, line: str) -> None:
        """Leave both in the folder, in place of the notice before."""
        told = now().isoformat(timespec="seconds")
        self.state = dataclasses.replace(self.state, phase=phase, line=line, told=told)
        self.store.write_text(STATE, to_json(self.state))


@contextmanager
def noticed(store: Store, say: Callable[[str], None]) -> Iterator[Notice]:
    """The notice of a run for the time of a block; what ends the block early is left in it."""
    notice = Notice(store, say)
    notice.enter(PREPARING)
    try:
        yield notice
    except KeyboardInterrupt:
        notice.enter(STOPPED)
        raise
    except Exception as error:
        notice.write(FAILED, " ".join(str(error).split()) or type(error).__name__)
        raise
