"""Hours and cost of a search, over its runs."""

import pytest

from search.proposals.spending import Allowance, Clock


class Earlier:
    """What the history of a study says of its earlier runs."""

    searched_s, trials_s = 1000.0, 1500.0


@pytest.fixture
def moved():
    """A clock, and what moves it on by some seconds."""
    now_s = [50.0]

    def move(seconds):
        now_s[0] += seconds

    return Clock(Earlier(), lambda: now_s[0]), move


def test_trials_at_a_time_are_counted_each(moved):
    clock, move = moved
    move(10)
    clock.begin(3)
    move(100)
    clock.begin(4)
    move(20)
    assert (clock.seconds, clock.trial_s) == (1130.0, 1500.0 + 120 + 20)
    clock.end(3)
    move(5)
    assert (clock.seconds, clock.trial_s) == (1135.0, 1500.0 + 120 + 25)


def test_what_is_spent_is_said(moved):
    clock, move = moved
    clock.begin(0)
    assert not Allowance().spent(clock) and not Allowance().words
    allowance = Allowance(hours=0.5, cost=1.0, price=2.0)
    assert not allowance.spent(clock) and allowance.words == "0.5 hours and a cost of 1"
    move(300)  # 1,800 s of trials at 2 an hour
    assert allowance.spent(clock) == "the cost of 1 is spent, at 2 an hour of a trial"
    move(500)
    assert allowance.spent(clock) == "the budget of 0.5 hours is spent"
    assert allowance.part(0.5) == Allowance(0.25, 0.5, 2.0) and Allowance().part(0.5) == Allowance()


def test_what_still_ends_in_time(moved):
    clock, _ = moved
    allowance = Allowance(hours=0.5, cost=1.0, price=2.0)  # 800 s of searching are left, and 300 s of trials
    assert allowance.leave(300, clock, 0) and not allowance.leave(301, clock, 0)
    assert allowance.leave(200, clock, 100) and not allowance.leave(200, clock, 101)
    assert Allowance(hours=0.5).leave(800, clock, 10**6) and not Allowance(hours=0.5).leave(801, clock, 0)
    assert Allowance().leave(10**9, clock, 10**9)
