"""Calls on workers: results in order, errors for people, a lost process."""

import fake_trials
import pytest

from search.tune.calls import on_workers
from spaces.errors import StillhouseError
from trainables.lanes.settings import ClusterSpec

ONE_CPU = ClusterSpec(cpus_per_worker=1)


def results(function, *calls):
    return list(on_workers(function, calls, ONE_CPU, "the sums could not be made"))


def test_results_come_in_the_order_of_the_calls_and_processes_are_kept(ray_cluster):
    calls = [(0.4, "slow"), *[(0.0, str(number)) for number in range(6)]]
    found = results(fake_trials.after, *calls)
    assert [name for name, *_ in found] == ["slow", *map(str, range(6))]
    assert {threads for *_, threads in found} == {1}
    assert len({process for _, process, _ in found}) <= 2


def test_an_error_is_told_as_what_it_is(ray_cluster):
    with pytest.raises(StillhouseError, match=r"^7 is no even number; 8 is$"):
        results(fake_trials.half, (6,), (7,))
    with pytest.raises(StillhouseError, match=r"^the sums could not be made: .*unsupported operand"):
        results(fake_trials.half, ("six",))


def test_a_call_whose_process_dies_is_made_once_more(ray_cluster, tmp_path):
    assert results(fake_trials.dies_at_first, (str(tmp_path / "seen"), 1)) == [2]
    with pytest.raises(StillhouseError, match="the sums could not be made"):
        results(fake_trials.dies_at_first, (str(tmp_path / "again"), 2))
