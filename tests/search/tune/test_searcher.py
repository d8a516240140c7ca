"""What Tune is told and asked, with the part of Tune played here: hand-backs, room, a disk that is full."""

from types import SimpleNamespace

import fake_trials
import pytest
import toy
from ray.tune.execution.tune_controller import TrialRunnerWrapper
from ray.tune.utils.object_cache import _ObjectCache

from search.proposals.asktell import MAX_HAND_BACKS
from search.store.parts import Store
from search.tune.searcher import FINISHED, RungScheduler, StudySearcher
from search.tune.tuning import ask_tell, job_maker
from spaces.values import from_json, to_json
from trainables.lanes.messages import TrialJob, TrialOutcome

NO_ROOM = {"handed_back": "no free CPUs"}
FINE = {"outcome": to_json(fake_trials.outcome(0.5))}


@pytest.fixture
def search(tmp_path):
    """(searcher, rows as they are recorded, the changeable room) of a new study."""
    asktell, rows, room = ask_tell(toy.plan(), Store(tmp_path, ["toy"]), print), [], [2]
    make_job = job_maker(toy.plan(), asktell.history, lambda trial: None)
    return StudySearcher(asktell, make_job, rows.append, lambda: room[0]), rows, room


def job_of(suggestion):
    return from_json(TrialJob, suggestion["job"])


def number_of(suggestion):
    return job_of(suggestion).trial


def report(step):
    return {"report": to_json(fake_trials.said(step, train_tokens=100_000 * step))}


def test_a_trial_without_a_place_is_asked_for_again_before_any_new_one(search):
    searcher, rows, _ = search
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert [number_of(first), number_of(second)] == [0, 1]
    searcher.on_trial_complete("a", NO_ROOM)
    assert job_of(searcher.suggest("c")) == job_of(first) and not rows
    assert len(searcher.asktell.store.numbers("asked")) == 2
    searcher.on_trial_complete("c", FINE)
    assert [(row.trial, row.status) for row in rows] == [(0, "finished")]
    assert number_of(searcher.suggest("d")) == 2


def test_no_more_trials_than_have_room_but_always_one(search):
    searcher, _, room = search
    room[0] = 0
    assert number_of(searcher.suggest("a")) == 0  # it waits for the first node, and is handed back if none comes
    assert searcher.suggest("b") is None
    room[0] = 3
    assert [number_of(searcher.suggest(name)) for name in "cd"] == [1, 2]
    room[0] = 1  # those that run go on; the next waits until a place is left
    for name in "ac":
        searcher.on_trial_complete(name, FINE)
        assert searcher.suggest("e") is None
    searcher.on_trial_complete("d", FINE)
    assert number_of(searcher.suggest("e")) == 3


def test_a_trial_that_never_finds_a_place_is_given_up(search):
    searcher, rows, _ = search
    searcher.suggest("other")
    for turn in range(MAX_HAND_BACKS - 1):
        assert number_of(searcher.suggest(f"a{turn}")) == 1
        searcher.on_trial_complete(f"a{turn}", NO_ROOM)
    searcher.goes_on("other", report(1))  # something runs, so it is worth while to wait
    for turn in range(MAX_HAND_BACKS):
        assert not rows and number_of(searcher.suggest(f"b{turn}")) == 1
        searcher.on_trial_complete(f"b{turn}", NO_ROOM)
    assert [(row.trial, row.status, row.reason) for row in rows] == [
        (1, "failed", f"handed back {MAX_HAND_BACKS} times while no trial ran: no free CPUs")
    ]
    assert searcher.asktell.store.read_rows("trials")[0]["reason"] == rows[0].reason
    assert number_of(searcher.suggest("c")) == 2


def test_a_trial_that_finds_the_disk_full_is_no_failed_row(search):
    searcher, rows, _ = search
    searcher.suggest("a")
    outcome = TrialOutcome(reason="OSError: [Errno 28] No space left on device", disk_full=True)
    searcher.on_trial_complete("a", {"outcome": to_json(outcome)})
    assert not rows and searcher.suggest("b") is FINISHED
    assert str(searcher.fatal).startswith("the disk is full: trial 0 could not write what it must keep (OSError")
    again = ask_tell(toy.plan(), searcher.asktell.store, print)
    assert again.waiting == 1


def test_as_many_idle_lanes_are_kept_as_trials_may_run(search):
    """By what Tune itself counts them with; without it one is kept, and the others start again in twenty seconds."""
    searcher, _, room = search
    scheduler, trial = RungScheduler(searcher), SimpleNamespace(placement_group_factory="a lane")
    controller = SimpleNamespace(_actor_cache=_ObjectCache(may_keep_one=True))

    def kept():
        return [controller._actor_cache.cache_object("a lane", number) for number in range(4)]

    assert kept() == [True, False, False, False]
    list(controller._actor_cache.flush_cached_objects(force_all=True))
    scheduler.on_trial_add(TrialRunnerWrapper(controller, None), trial)
    scheduler.on_trial_add(TrialRunnerWrapper(controller, None), trial)
    assert kept() == [True, True, False, False]
    room[0] = 3
    scheduler.on_trial_add(TrialRunnerWrapper(controller, None), trial)
    assert kept()[0] and not list(controller._actor_cache.flush_cached_objects())
    room[0] = 1  # a node has gone: two of three lanes would only hold its neighbour's cores
    scheduler.on_trial_add(TrialRunnerWrapper(controller, None), trial)
    assert len(list(controller._actor_cache.flush_cached_objects())) == 2
