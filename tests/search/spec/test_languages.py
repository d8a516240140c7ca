"""Tasks by language: how a spec expands, what it may be searched for, and a search for the worst language."""

import json
import tomllib
from dataclasses import replace

import fake_trials
import numpy as np
import pytest
import toy

from search.proposals.asktell import AskTell
from search.spec.checks import read_spec
from search.spec.languages import languages_of
from search.spec.writing import differences, to_table, to_toml
from search.store.parts import Store
from search.tune.tuning import Plan
from spaces.errors import SpecError
from trainables.lanes.messages import TrialOutcome
from trainables.tasks.scores import Scores

MANY = toy.SPEC.replace(
    'source = "docs:package"\nkind = "classification"',
    'source = "pos/{language}"\nkind = "token_classification"\nlabel_column = "upos"\nlanguages = ["en", "de"]',
)
WORST = MANY + '[search]\nobjectives = ["quality", "worst_language_quality", "parameters"]\n'


def problems_of(text):
    with pytest.raises(SpecError) as caught:
        toy.read(text)
    return list(caught.value.problems)


def test_one_task_for_each_language(tmp_path):
    spec = read_spec(tomllib.loads(MANY), tmp_path)
    assert [(t.name, t.language, t.source) for t in spec.tasks] == [
        ("toy_en", "en", str(tmp_path / "pos/en")),
        ("toy_de", "de", str(tmp_path / "pos/de")),
    ]
    assert {(t.text_column, t.label_column, t.languages) for t in spec.tasks} == {("tokens", "upos", None)}
    assert languages_of(spec.tasks) == {"toy_en": "en", "toy_de": "de"}


def test_the_stored_spec_is_the_expanded_one(tmp_path):
    spec = read_spec(tomllib.loads(MANY), tmp_path)
    again = read_spec(tomllib.loads(to_toml(spec)), tmp_path)
    assert again.tasks == spec.tasks
    assert not differences(spec, again)
    assert "languages" not in to_table(spec)["tasks"][0]
    single = toy.SPEC.replace('kind = "class', 'language = "de"\nkind = "class')
    assert languages_of(read_spec(tomllib.loads(single), tmp_path).tasks) == {"toy": "de"}


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ('languages = ["en", "de"]', "", "[[tasks]] toy source: {language} needs languages, such as"),
        ('languages = ["en", "de"]', 'language = "de"', "[[tasks]] toy source: {language} needs languages, such as"),
        ("pos/{language}", "pos/de", "[[tasks]] toy source must hold {language}"),
        ('["en", "de"]', '"en"', "[[tasks]] toy languages must be a list of codes"),
        ('["en", "de"]', "[]", "[[tasks]] toy languages must be a list of codes"),
        ('["en", "de"]', '["en", "de", "en"]', "[[tasks]] toy languages names en more than once"),
        ('languages = ["en", "de"]', 'languages = ["en"]\nlanguage = "en"', "either language or languages"),
        ('["en", "de"]', '["en", "d e"]', "name may hold letters"),
    ],
)
def test_what_a_spec_may_not_say(old, new, wanted):
    assert old in MANY
    found = problems_of(MANY.replace(old, new))
    assert len(found) == 1
    assert wanted in found[0]


def test_the_worst_language_needs_two():
    assert toy.read(WORST)[0].search.objectives[1] == "worst_language_quality"
    for text, words in ((WORST.replace('"en", "de"', '"en"'), "names only en"), (toy.SPEC, "names none")):
        head = '[search]\nobjectives = ["quality", "worst_language_quality", "parameters"]\n'
        found = problems_of(text if "[search]" in text else text + head)
        assert found == [
            f"[search] objective 'worst_language_quality' needs tasks in at least two languages; this spec {words}"
        ]
    assert "is not a cost" in problems_of(WORST + "constraints = { worst_language_quality = 1 }\n")[0]


def trial_of(config):
    """Larger students are better; the wider they are, the worse in German."""
    quality = config["num_layers"] * config["hidden_size"] / 2000
    return Scores(quality, {}, "de", quality - config["hidden_size"] / 1000)


def search(folder, rungs=()):
    spec, _ = toy.read(WORST)
    store = Store(folder, [task.name for task in spec.tasks], by_language=True)
    options = {"candidates": 8, "train_tokens": 300_000, "rung_tokens": rungs, "rung_factor": 2, "protected": 1}
    return AskTell(store, toy.searched(WORST, **options))


def test_a_search_for_the_worst_language_keeps_it_and_resumes_alike(tmp_path):
    """The rows hold the columns, the model chooses among draws, and half a search goes on as the whole one does."""

    def run(folder, stops):
        asked = []
        for limit in stops:
            tell = search(folder)
            while len(asked) < limit and (ask := tell.ask()) is not None:
                asked.append(json.dumps(ask.config, sort_keys=True))
                assert tell.tell(ask.trial, TrialOutcome(scores=trial_of(ask.config))).status == "finished"
        return asked

    assert run(tmp_path / "whole", [12]) == run(tmp_path / "halves", [6, 12])
    rows = Store(tmp_path / "whole", by_language=True).read_rows("trials")
    assert {row["worst_language"] for row in rows} == {"de"}
    assert all(row["worst_language_quality"] < row["quality"] for row in rows)


def test_a_trial_that_measured_no_worst_language_failed(tmp_path):
    tell = search(tmp_path)
    ask = tell.ask()
    row = tell.tell(ask.trial, fake_trials.outcome(0.5))
    assert (row.status, row.reason) == ("failed", "the trial measured no worst_language_quality")


def test_rungs_compare_by_quality_alone_before_and_after_a_resume(tmp_path):
    tell = search(tmp_path, rungs=[100_000])
    for _ in range(4):
        ask = tell.ask()
        report = replace(fake_trials.said(1, train_tokens=100_000), scores=trial_of(ask.config))
        if tell.report(ask.trial, report) is None:
            tell.tell(ask.trial, TrialOutcome(scores=trial_of(ask.config)))
    again = search(tmp_path, rungs=[100_000])
    before, after = (
        np.array([each.costs for each in rungs.entries[0].values()]) for rungs in (tell.rungs, again.rungs)
    )
    np.testing.assert_allclose(after, before)
    assert np.isnan(after[:, 1]).all() and len(after) == 4


def test_plans_of_specs_without_languages_are_as_before():
    assert isinstance(toy.plan(), Plan)
    assert languages_of(toy.read()[0].tasks) == {}
