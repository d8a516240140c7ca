"""A study on a real disk of 64 kB that runs full, and its resume."""

import subprocess
from pathlib import Path

import fake_trials
import pytest
import toy

from search.store.parts import Store
from search.tune.searcher import FINISHED, StudySearcher
from search.tune.tuning import ask_tell, job_maker
from spaces.values import from_json, to_json
from trainables.lanes.messages import TrialJob
from trainables.lanes.worker import attempt

APART = ("unshare", "--map-root-user", "--mount")
KEEP = """
mount -t tmpfs -o size=64k none "$0" && echo mounted && read -r more &&
mount -o remount,size=10m "$0" && echo larger && read -r more
"""


@pytest.fixture
def disk(tmp_path):
    """(a folder on a disk of its own, what makes the disk larger).

    A shell in a name space of mounts of its own keeps the disk; the system lets us see it through that process.
    """
    if subprocess.run([*APART, "true"], capture_output=True).returncode:
        pytest.skip("no name space of mounts can be had here")
    (tmp_path / "disk").mkdir()
    command = [*APART, "sh", "-c", KEEP, str(tmp_path / "disk")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout.readline() == "mounted\n"

        def enlarge():
            keeper.stdin.write("more\n")
            keeper.stdin.flush()
            assert keeper.stdout.readline() == "larger\n"

        yield Path(f"/proc/{keeper.pid}/root{tmp_path}/disk"), enlarge


def search(folder, journal):
    """Play Tune and one lane until the searcher has nothing more; what it ended of, and what its rows say."""
    plan = toy.plan(journal=str(journal))
    asktell = ask_tell(plan, Store(folder, ["toy"]), print)
    searcher = StudySearcher(asktell, job_maker(plan, asktell.history, lambda trial: None), lambda row: None, lambda: 1)
    for turn in range(1000):
        if (suggestion := searcher.suggest(str(turn))) is FINISHED:
            return searcher.fatal, [(row.trial, row.config_hash, row.quality) for row in asktell.tally.rows]
        outcome = attempt(fake_trials.study_trial, from_json(TrialJob, suggestion["job"]), lambda report: None)
        searcher.on_trial_complete(str(turn), {"outcome": to_json(outcome)})
    raise AssertionError("the search does not end")


def test_a_full_disk_stops_the_study_and_the_resume_loses_nothing(disk, tmp_path):
    folder, enlarge = disk
    fatal, before = search(folder / "study", tmp_path / "journal")
    assert str(fatal).startswith("the disk is full: ") and "then: stillhouse resume" in str(fatal)
    rows = Store(folder / "study", ["toy"]).read_rows("trials")
    assert 0 < len(before) < 8 and [row["trial"] for row in rows] == [trial for trial, *_ in before]
    assert not list(folder.glob("**/.*.tmp")) and not list((tmp_path / "disk").iterdir())
    enlarge()
    fatal, after = search(folder / "study", tmp_path / "journal")
    assert fatal is None and len(after) == 8 and after[: len(before)] == before
    assert after == search(tmp_path / "undisturbed", tmp_path / "journal")[1]
