"""The expected improvement against sampling, the model against what it was told."""

import numpy as np
import pytest

from search.samplers.context import Seen
from search.samplers.surrogate import (
    ENOUGH,
    NOISES,
    OWN,
    REACHES,
    SIZE,
    SLOPE,
    closeness,
    distances,
    expected_excess,
    expected_gains,
    improvement,
    predict,
    sizes,
    trusted,
)
from spaces.records.fronts import hypervolume


@pytest.mark.parametrize("reference", [np.nan, 0.8])
@pytest.mark.parametrize("num_costs", [1, 2])
def test_the_closed_form_is_the_mean_of_samples(num_costs, reference):
    rng = np.random.default_rng(num_costs)
    front_q, front_c = rng.random(6), rng.random((6, num_costs))
    mean, sd, costs = rng.random(4), rng.random(4) * 0.3 + 0.05, rng.random((4, num_costs))
    found = improvement(mean, sd, costs, front_q, front_c, np.full(num_costs, reference))
    scale = np.concatenate([costs, front_c]).max(axis=0) * 1.1 if np.isnan(reference) else reference
    reference = [0.0] + [1.0] * num_costs
    whole = np.column_stack([-front_q, front_c / scale])
    before = hypervolume(whole, reference)
    for i in range(4):
        draws = rng.normal(mean[i], sd[i], 300)
        gains = [hypervolume(np.vstack([whole, [-q, *(costs[i] / scale)]]), reference) - before for q in draws]
        assert found[i] == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / np.sqrt(len(gains)) + 1e-4)


@pytest.mark.parametrize("num_costs", [1, 2])
def test_the_union_of_a_students_precisions_is_the_mean_of_samples(num_costs):
    rng = np.random.default_rng(num_costs)
    front_q, front_c = rng.random(5), rng.random((5, num_costs))
    mean, sd, costs = rng.random(4), rng.random(4) * 0.3 + 0.05, rng.random((4, num_costs))
    further = [(costs * rng.random((4, num_costs)), 0.07), (costs * rng.random((4, num_costs)), -0.02)]
    found = improvement(mean, sd, costs, front_q, front_c, np.ones(num_costs), further)
    whole, reference = np.column_stack([-front_q, front_c]), [0.0] + [1.0] * num_costs
    before = hypervolume(whole, reference)
    for i in range(4):
        gains = []
        for q in rng.normal(mean[i], sd[i], 300):
            own = [[loss - q, *points[i]] for points, loss in [(costs, 0.0), *further]]
            gains.append(hypervolume(np.vstack([whole, own]), reference) - before)
        assert found[i] == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / np.sqrt(len(gains)) + 1e-4)


def test_a_student_that_is_beaten_in_float_may_gain_in_int8():
    """Its own point adds nothing to a front that has a better and cheaper one; its int8 file is the cheapest of all."""
    known = np.array([0.5]), np.array([1e-4]), np.array([[8.0]]), np.array([0.8]), np.array([[5.0]]), np.array([10.0])
    assert improvement(*known) == pytest.approx([0.0], abs=1e-9)
    assert improvement(*known, [(np.array([[2.0]]), 0.1)]) == pytest.approx([0.4 * 0.3], abs=1e-4)


def test_what_is_predicted_is_the_next_score_of_a_joint_gaussian():
    """Against the plain formula: levels, lacks and noise of scores that are seen and of those that are to come."""
    rng = np.random.default_rng(0)
    configs = [{"method": method, "width": width} for method in ("hs", "od", "mha") for width in (96, 192)]
    seen = [Seen(each, share, float(rng.normal(0.5, 0.2))) for each in configs[:4] for share in (1 / 9, 1 / 3)]
    seen.append(Seen(configs[4], 1.0, 0.9))
    to_come = [Seen(configs[place], 1.0, np.nan) for place in (0, 4, 5)]
    points, number = [*seen, *to_come], len(seen)
    quality = np.array([each.quality for each in seen])
    centre, scale = np.median(quality), max(np.std(quality), 0.05)
    size = sizes([each.config for each in points])

    def covariance(a, b, reach, noise):
        one, other = points[a], points[b]
        axes = np.array([float(one.config[axis] != other.config[axis]) for axis in ("method", "width")])
        level = 0.5 + np.exp(-2.0 * axes).mean() + 0.5 * np.exp(-axes.sum() / reach) + SIZE * size[a] * size[b]
        lack = np.log(1 / one.share) * np.log(1 / other.share) * SLOPE * (0.5 + 0.5 * level)
        own = (noise / scale) ** 2 * (OWN * (one.config == other.config) + (1 - OWN) * (a == b))
        return level + lack + own

    best = (-np.inf, None)
    for reach in REACHES:
        for noise in NOISES:
            places = range(len(points))
            whole = np.array([[covariance(a, b, reach, noise) for b in places] for a in places])
            own, target = whole[:number, :number], (quality - centre) / scale
            likelihood = -0.5 * target @ np.linalg.solve(own, target) - 0.5 * np.linalg.slogdet(own)[1]
            weights = np.linalg.solve(own, whole[:number, number:])
            spread = np.sqrt(np.diag(whole[number:, number:] - whole[number:, :number] @ weights))
            if likelihood > best[0]:
                best = likelihood, (centre + scale * target @ weights, scale * spread)
    mean, sd = predict([each.config for each in to_come], seen)
    assert mean == pytest.approx(best[1][0], abs=1e-4) and sd == pytest.approx(best[1][1], abs=1e-4)


def test_quality_alone():
    found = improvement(np.array([0.5, 0.7]), np.array([0.1, 0.1]), np.empty((2, 0)), np.array([0.6]), np.empty((1, 0)),
                        np.empty(0))  # fmt: skip
    assert found == pytest.approx([*expected_excess(np.array([0.5, 0.7]), np.full(2, 0.1), 0.6)])
    assert expected_excess(np.zeros(1), np.ones(1), 0.0) == pytest.approx(1 / np.sqrt(2 * np.pi))


def test_what_a_cheaper_and_better_trial_beats_promises_nothing():
    found = improvement(
        np.array([0.5, 0.5]),
        np.array([1e-3, 1e-3]),
        np.array([[20.0], [5.0]]),
        np.array([0.8]),
        np.array([[10.0]]),
        np.array([np.nan]),
    )
    assert found[0] == pytest.approx(0.0, abs=1e-12) and found[1] > 0


def test_an_empty_front_is_improved_by_anything_above_the_floor():
    found = improvement(np.array([0.4]), np.array([1e-6]), np.array([[5.0]]), np.empty(0), np.empty((0, 1)),
                        np.array([np.nan]))  # fmt: skip
    assert found[0] == pytest.approx(0.4 * (1 - 1 / 1.1), rel=1e-3)


def config(method, layers):
    return {"method": method, "num_layers": layers, "learning_rate": 1e-3} | (
        {"mapping": "last"} if method == "hs" else {}
    )


def test_distances_are_from_0_to_1_and_an_absent_axis_is_as_far_as_can_be():
    axes = distances([config("hs", 2), config("od", 8), config("hs", 4)])
    assert len(axes) == 3  # mapping, method, num_layers; the learning rate is the same everywhere
    distance = np.array([apart[np.ix_(values, values)] for apart, values in axes])
    apart, alone = closeness(axes, 3, 3)
    np.testing.assert_allclose(apart, distance.sum(axis=0))
    np.testing.assert_allclose(alone, np.exp(-2 * distance).mean(axis=0))
    same_apart, same_alone = closeness(distances(2 * [config("hs", 2)]), 2, 2)
    assert not same_apart.any() and (same_alone == 1.0).all()
    assert distance[:, 0, 1].tolist() == [1.0, 1.0, 1.0]
    assert distance[:, 0, 2].tolist() == pytest.approx([0.0, 0.0, 0.25])
    assert (distance == distance.transpose(0, 2, 1)).all() and not distance[:, range(3), range(3)].any()


def test_the_model_reads_low_fidelities_as_such():
    """od starts low and ends high; one full od trial is enough to know it."""
    seen = []
    for layers in (2, 3, 4, 6):
        seen += [Seen(config("hs", layers), 0.1, 0.5), Seen(config("hs", layers), 1.0, 0.6)]
        seen += [Seen(config("od", layers), 0.1, 0.1), Seen(config("od", layers), 1.0, 0.9)]
    mean, sd = predict([config("hs", 5), config("od", 5)], seen)
    assert mean[1] > mean[0] + 0.1 and (sd > 0).all()
    assert mean == pytest.approx([0.6, 0.9], abs=0.1)
    assert choose(seen) == 1


def test_with_enough_ends_the_model_learns_from_them_alone():
    """A bad first score closes a configuration only as long as few trials have come to their end."""
    good = [Seen(config("od", 8 + i), 1.0, 0.9) for i in range(ENOUGH)]
    rungs = [Seen(each.config, 0.1, 0.85) for each in good]
    bad_start = Seen(config("hs", 5), 0.1, 0.1)
    for known, trusts in ((ENOUGH - 1, False), (ENOUGH, True)):
        seen = [*good, *rungs[:known], bad_start]
        assert (trusted(seen) == good) == trusts and len(trusted(seen)) in (ENOUGH, len(seen))
    assert trusted(good) == good == trusted([*good, *rungs])


def choose(seen, running=()):
    costs, front = np.tile([0.0, 10.0], (2, 1)), np.array([[-0.6, 10.0]])
    both = [config("hs", 5), config("od", 5)]
    gains = expected_gains(both, costs, seen, running, costs[: len(running)], front, 0, np.array([np.nan]))
    return int(np.argmax(gains))


def test_what_is_running_is_not_tried_beside_it():
    """While the best runs, it counts as if its expected quality were on the front already."""
    seen = [Seen(config("od", layers), 1.0, 0.9) for layers in (2, 3, 8)]
    seen += [Seen(config("hs", layers), 1.0, 0.89) for layers in (2, 3, 8)]
    both = [config("hs", 5), config("od", 5)]
    mean, sd = predict(both, seen)
    beside_mean, beside_sd = predict(both, [*seen, Seen(both[1], 1.0, mean[1])])
    assert beside_mean == pytest.approx(mean, abs=0.05) and beside_sd[1] < 0.9 * sd[1]
    assert mean[1] > mean[0] and choose(seen) == 1
    alone, beside = (
        improvement(m, s, np.full((2, 1), 10.0), np.array(quality), np.full((len(quality), 1), 10.0), np.array([20.0]))
        for m, s, quality in ((mean, sd, [0.6]), (beside_mean, beside_sd, [0.6, mean[1]]))
    )
    assert beside[1] < 0.2 * alone[1]
    assert choose(seen, both[1:]) == int(beside[1] > beside[0])


def test_size_is_from_minus_a_half_to_a_half():
    found = sizes([{"num_layers": 2, "hidden_size": 96}, {"num_layers": 8, "hidden_size": 192}, {"num_layers": 4,
                   "hidden_size": 96 * 2**0.5}])  # fmt: skip
    assert found == pytest.approx([-0.5, 0.5, 0.0])
    assert sizes([{"num_layers": 3}] * 2).tolist() == [0.0, 0.0]
