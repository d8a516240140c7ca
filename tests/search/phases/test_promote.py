"""What a promoted study asks for, and which trials cannot be promoted."""

import pytest
import tomli_w
import toy

from search.phases.promote import Promotion, finished_trial, promoted_table, score_search_time_self
from search.spec.writing import to_table
from search.store.parts import Store
from spaces.errors import SpecError, StillhouseError


@pytest.fixture
def study(tmp_path):
    """A search of three trials: one finished, one repeated, one failed."""
    searched = "[rungs]\nfirst_tokens = 50_000\n[search]\nsampler = 'nsga2'\nschedule = 'halving'\n"
    spec, space = toy.read(toy.SPEC + searched)
    store = Store(tmp_path, ["toy"])
    store.write_text("spec.toml", tomli_w.dumps(to_table(spec)))
    store.write_text("study.json", toy.meta(spec, space).to_json())
    config = {
        "method": "hs", "mapping": "uniform", "num_layers": 2, "hidden_size": 96, "num_heads": 8,
        "intermediate_size": 384, "initialisation": "random", "learning_rate": 7e-4, "batch_size": 16,
    }  # fmt: skip
    shared = {**config, "seed": 5, "config_hash": "a", "train_tokens": 300_000}
    store.write_part("trials", 0, [{**shared, "trial": 0, "status": "finished", "student_path": "students/00000"}])
    store.write_part("trials", 1, [{**shared, "trial": 1, "status": "duplicate", "of_trial": 0}])
    store.write_part("trials", 2, [{**shared, "trial": 2, "status": "failed", "reason": "NaN"}])
    return store


def test_only_what_finished_can_be_promoted(study):
    assert finished_trial(study, 0).trial == finished_trial(study, 1).trial == 0
    for trial, why in ((2, "trial 2 is failed"), (9, "there is no trial 9")):
        with pytest.raises(StillhouseError, match=why):
            finished_trial(study, trial)


def test_one_configuration_with_more_of_everything(study):
    table = promoted_table(study, finished_trial(study, 0), Promotion(seeds=4, workers=2))
    spec, space = toy.read(tomli_w.dumps(table))
    assert spec.name == "toy-promoted" and spec.budget.train_tokens == 3_000_000 and spec.budget.trials == 4
    assert spec.comparison.seeds == 4 and spec.cluster.workers_per_trial == 2 and spec.training.start is None
    assert spec.rungs.first_tokens is None and len(list(space.enumerate())) == 1
    (config,) = space.enumerate()
    assert config["learning_rate"] == 7e-4 and config["mapping"] == "uniform" and config["intermediate_size"] == 384


def test_fewer_tokens_than_the_search_are_refused(study):
    with pytest.raises(SpecError, match="at least the 300,000 of the search, got 299,999"):
        promoted_table(study, finished_trial(study, 0), Promotion(299_999))


def test_tokens_and_a_start_from_the_weights(study):
    table = promoted_table(study, finished_trial(study, 0), Promotion(1_000_000, 1, go_on=True))
    assert table["budget"] == {"train_tokens": 1_000_000} and "max_tokens" not in table["corpus"]
    assert table["training"]["start"] == study.path("students/00000")
    study.is_local = False
    with pytest.raises(StillhouseError, match="not on this disk"):
        promoted_table(study, finished_trial(study, 0), Promotion(seeds=1, go_on=True))


def test_a_search_that_still_runs_is_not_written_to(study):
    spec = study.read_text("spec.toml")
    study.write_text(
        "spec.toml", spec.replace("invented", "package:trainables/embedded_teacher").replace("    384,\n", "")
    )
    with study.locked(), pytest.raises(StillhouseError, match="another"):
        score_search_time_self(study.folder, finished_trial(study, 0), print)
