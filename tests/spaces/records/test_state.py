"""The notice of a run: whether its process still is the one that left it."""

import os
import socket
from datetime import UTC, datetime, timedelta

from spaces.records.state import ENDED, SEARCHING, RunState


def notice(phase, process, since):
    return RunState(phase, "trial 3", socket.gethostname(), process, since.isoformat(), since.isoformat())


def test_a_later_process_with_the_number_of_a_run_is_not_the_run():
    now = datetime.now(UTC)
    assert not notice(SEARCHING, os.getpid(), now).is_over
    stranger = notice(SEARCHING, os.getpid(), now - timedelta(days=400))
    assert stranger.was_killed and stranger.is_over and "is gone" in stranger.words


def test_a_process_that_is_not_there_is_over_and_another_machine_is_not_judged():
    now, nobody = datetime.now(UTC), 2**22 + 1
    assert notice(SEARCHING, nobody, now).was_killed and not notice(ENDED, nobody, now).was_killed
    elsewhere = RunState(SEARCHING, "", "elsewhere", nobody, now.isoformat(), now.isoformat())
    assert not elsewhere.is_over
