"""Tables, tests and claims of a comparative study, against slow references and studies made to order."""

import numpy as np
import pytest
from fake_studies import META, finished_row, write_part, write_study
from scipy import stats

import analysis
from analysis.page.comparison import comparison_section, comparison_text
from analysis.statistics import comparison
from analysis.words import config_of
from spaces.records.columns import test_scores_columns as score_columns

SHAPES = ((2, 128), (3, 192), (4, 256))
ROWS = {
    "od": {"method": "od", "temperature": 2.0},
    "hs, uniform": {"method": "hs", "mapping": "uniform"},
    "hs, uniform_last": {"method": "hs", "mapping": "uniform_last"},
    "mha, layer 5": {"method": "mha", "teacher_layer": 5},
    "mha, layer 6": {"method": "mha", "teacher_layer": 6},
}
EMPTY = {"mapping": None, "teacher_layer": None, "relation_heads": None, "temperature": None, "learning_rate": 1e-3}


def study(folder, gains, noise=0.01, tested=True, seeds=(0, 1, 2), **meta):
    """A comparison in which each row is better than nothing by its gain."""
    rng = np.random.default_rng(0)
    rows, tests = [], []
    for seed in seeds:
        for k, shape in enumerate(SHAPES):
            luck = rng.normal(0, 0.05)  # of this student and seed, shared by all rows
            for name, gain in gains.items():
                true = 0.4 + 0.1 * k + gain + luck
                dev, test = true + rng.normal(0, noise), true + rng.normal(0, noise)
                trial = len(rows)
                rows.append(finished_row(trial, dev, shape, **{**EMPTY, **ROWS[name], "seed": seed}))
                for task in META["tasks"]:
                    tests.append({"trial": trial, "task": task, "protocol": "probe", "score": 0.5,
                                  "recovered": test, "layer": 1, "metric": "accuracy"})  # fmt: skip
    for rate, quality in ((1e-3, 0.3), (3e-3, 0.5)):
        rows.append(finished_row(len(rows), quality, **{**EMPTY, "seed": 1000, "learning_rate": rate}))
    facts = {
        "seeds": list(seeds),
        "tuning_seed": 1000,
        "tuned_on": ["3x192"],
        "learning_rates": [1e-3, 3e-3],
        "test": {},
    }
    written = write_study(folder, rows, comparison=facts, **meta)
    if tested:
        write_part(written / "test_scores", "part-00000.parquet", score_columns(), tests)
    return analysis.load(written)


GAINS = {"od": 0.0, "hs, uniform": 0.1, "hs, uniform_last": 0.14, "mha, layer 5": 0.2, "mha, layer 6": 0.15}


def test_rows_are_named_by_what_they_vary(tmp_path):
    found = comparison.outcomes(study(tmp_path, GAINS))
    assert set(found["row"]) == set(GAINS) and len(found) == 45
    assert found["test"].to_numpy() == pytest.approx(found["dev"].to_numpy(), abs=0.1)
    assert (found["test"] != found["dev"]).all()


def test_without_test_splits_dev_stands_in(tmp_path):
    found = comparison.outcomes(study(tmp_path, GAINS, tested=False))
    assert found["test"].to_numpy() == pytest.approx(found["dev"].to_numpy())


def test_claims_that_hold(tmp_path):
    made = study(tmp_path, GAINS)
    answers = [claim.answer for claim in comparison.claims(made, comparison.outcomes(made))]
    assert answers == ["yes", "yes", "yes", "yes"]


def test_claims_that_do_not_hold(tmp_path):
    reverse = {"od": 0.2, "hs, uniform": 0.14, "hs, uniform_last": 0.1, "mha, layer 5": 0.0, "mha, layer 6": 0.05}
    made = study(tmp_path, reverse)
    answers = [claim.answer for claim in comparison.claims(made, comparison.outcomes(made))]
    assert answers == ["no", "no", "no", "no"]


def test_claims_within_noise_are_undecided_and_claims_without_rows_not_asked(tmp_path):
    made = study(tmp_path / "noisy", dict.fromkeys(GAINS, 0.0), noise=0.1)
    assert {claim.answer for claim in comparison.claims(made, comparison.outcomes(made))} == {"undecided"}
    few = study(tmp_path / "few", {"mha, layer 5": 0.1, "hs, uniform": 0.0})
    answers = [claim.answer for claim in comparison.claims(few, comparison.outcomes(few))]
    assert answers == ["yes", "not asked", "not asked", "not asked"]
    alone = study(tmp_path / "alone", {"hs, uniform": 0.1})
    for text in (comparison_section(alone), comparison_text(alone)):
        assert "hs" in text and "best method" not in text and "Holm" not in text


def test_a_difference_is_the_paired_t_test(tmp_path):
    found = comparison.outcomes(study(tmp_path, GAINS))
    (difference,) = comparison.compare_rows(found, [("mha, layer 5", "hs, uniform")])
    sides = [
        found[found["row"] == row].sort_values(["student", "seed"])["test"] for row in ("mha, layer 5", "hs, uniform")
    ]
    expected = stats.ttest_rel(*(side.to_numpy() for side in sides))
    interval = expected.confidence_interval(0.95)
    assert difference.p == pytest.approx(expected.pvalue) and difference.pairs == 9
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high))


def test_holm_against_its_definition():
    rng = np.random.default_rng(1)
    for _ in range(20):
        ps = rng.uniform(0, 0.2, 6)
        made = comparison.corrected([comparison.Difference("a", "b", 0, 0, 0, p, 9) for p in ps])
        for i, p in enumerate(ps):
            stricter = [min(1.0, sum(q >= other for q in ps) * other) for other in ps if other <= p]
            assert made[i].p == pytest.approx(max(stricter))


def test_ties_and_too_few_pairs(tmp_path):
    found = comparison.outcomes(study(tmp_path, {"od": 0.0, "hs, uniform": 0.1}, seeds=(0,)))
    assert comparison.compare_rows(found[found["student"] == "2x128"], [("od", "hs, uniform")]) == ()
    same = found.assign(test=0.5)
    (difference,) = comparison.compare_rows(same, [("od", "hs, uniform")])
    assert difference.p == 1.0 and difference.sign == 0


def test_the_table_is_best_first_and_bold_in_each_column(tmp_path):
    made = study(tmp_path, GAINS)
    text = comparison_text(made)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[2].startswith("| mha, layer 5 | **") and lines[2].count("**") == 8
    assert lines[0] == "|  | 2x128 | 3x192 | 4x256 | mean | behind the best |"
    assert "seed that is not compared: mha 0.003." in text


def test_an_axis_of_another_package_is_recorded_and_told(tmp_path):
    axis = {"name": "pooled_layer", "type": "int64", "unit": "layer", "meaning": "whose mean is learned"}
    rows = [
        finished_row(trial, 0.5 + trial / 100, **{**EMPTY, "method": "pooled", "pooled_layer": 5 + trial % 2})
        for trial in range(4)
    ]
    facts = {"seeds": [0], "tuning_seed": 1000, "tuned_on": [], "learning_rates": [], "test": {}}
    made = analysis.load(write_study(tmp_path, rows, comparison=facts, axes=[axis]))
    assert made.trials["pooled_layer"].tolist() == [5, 6, 5, 6]
    assert set(comparison.outcomes(made)["row"]) == {"pooled, pooled layer 5", "pooled, pooled layer 6"}
    assert config_of(made.trials.iloc[0], made.meta.config_columns)["pooled_layer"] == "5"
    assert len(made.students) == 2


def test_effects_share_the_variance(tmp_path):
    found = comparison.outcomes(study(tmp_path, GAINS, noise=0.0))
    table = comparison.effects(found).set_index("factor")
    assert table.loc["student", "levels"] == 3 and table["share"].sum() <= 1.0
    assert table.loc["method", "range"] == pytest.approx(0.175, abs=1e-6)


def test_the_section_is_escaped_and_a_search_has_none(tmp_path):
    made = study(tmp_path / "made", GAINS)
    html = comparison_section(made)
    assert "The comparison" in html and "<b>yes</b>" in html and "upper-middle layers (4 and 5 of 6)" in html
    assert comparison_section(analysis.load(write_study(tmp_path / "search", [finished_row(0, 0.5)]))) == ""
