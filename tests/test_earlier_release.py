"""A study that release 0.1 made (four trials of `make search`) opens, reports, and is gone on with."""

import shutil
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from analysis import load
from analysis.page.report import content
from search.cli.main import main
from search.phases.exporting import facts_of, place_on_front
from search.phases.runner import refuse_other_study, stored_study
from search.proposals.asktell import AskTell
from search.proposals.searched import Searched
from search.samplers.registry import HALVING
from search.store.contents import stored_table
from search.store.history import History
from search.store.parts import Store
from spaces.records.columns import DATASETS
from spaces.records.meta import FORMAT
from spaces.records.objectives import aim_of

RELEASED = Path(__file__).parent / "data" / "study_0_1"
FRONT = [14, 2, 10, 3]


@pytest.fixture
def study(tmp_path):
    return str(shutil.copytree(RELEASED, tmp_path / "study"))


def test_every_dataset_is_read(study):
    opened = load(study)
    assert opened.front()["trial"].tolist() == FRONT and opened.notes == ()
    assert opened.meta.teacher.architecture.name == "6x192" and opened.meta.teacher.costs["parameters"] == 3_920_256
    assert opened.meta.tasks["order"].num_dev == 1000
    store = Store.of(study)
    assert stored_table(store)["search"]["schedule"] == HALVING  # the one that it knew
    for name in DATASETS:
        rows = store.read_rows(name)
        assert (rows or name == "decisions") and all(set(row) == set(store.schemas[name].names) for row in rows), name
        if name != "asked":
            assert len(getattr(opened, name)) == len(rows)
    assert "params" in pq.read_schema(f"{study}/asked/part-00002.parquet").names  # a column that went since


def test_it_is_shown_and_picked_from(study, capsys):
    page = content(load(study))
    for title in ("The front", "On the test split", "What distillation gains", "Learning curves", "Environment"):
        assert title in page
    assert main(["front", study, "--profile", "phone"]) == 0 and "Some phone" in capsys.readouterr().out
    assert main(["best", study, "--max-parameters", "50%"]) == 0
    assert capsys.readouterr().out.startswith("trial 10: 3x144 by hs")
    opened = Store.of(study)
    meta, rows = opened.read_meta(), opened.read_trials()
    row = next(row for row in rows if row.trial == 10)
    assert place_on_front(row, rows, meta.aim).startswith("One of 4 students on the front")
    facts = facts_of(meta, tomllib.loads(opened.read_text("spec.toml")), row, {}, opened.read_rows("test_scores"))
    assert facts.scores["pairs"].split == "test" and facts.teacher_digest == meta.teacher.digest


def test_the_search_goes_on(study):
    found = stored_study(study)
    spec, space = found.spec, found.space
    store = Store(study, [task.name for task in spec.tasks])
    refuse_other_study(store, spec)
    assert [row.trial for row in History(store).finished] == sorted(FRONT)
    aim = aim_of(["quality"], {})
    searched = Searched(space, lambda config: {}, aim, seed=spec.seed, budget=spec.budget.trials, sampler="random")
    asktell = AskTell(store, searched)
    assert asktell.left == 14 and asktell.ask().trial == 15
    assert "params" not in pq.read_schema(f"{study}/asked/part-00015.parquet").names


def test_its_meta_is_written_in_the_format_of_today(study):
    store = Store(study)
    meta = store.read_meta()
    store.write_text("study.json", meta.to_json())
    assert f'"format": {FORMAT}' in store.read_text("study.json") and store.read_meta() == meta
