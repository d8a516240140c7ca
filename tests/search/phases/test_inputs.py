"""A study is what it is made of: the same content elsewhere is the same study, other content is refused by name."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import tomli_w
import toy

from search.phases.inputs import read_inputs
from search.phases.promote import Promotion, promote
from search.phases.runner import Driver, confirm, refuse_other_study, resume, run_spec, stored_study
from search.proposals.warm_start import refuse_incomparable
from search.spec.checks import check_all
from search.spec.writing import to_toml
from search.store.contents import FILE, digests_of, refuse_changed, write_contents
from search.store.parts import Store
from spaces.errors import SpecError, StillhouseError
from trainables.models.teacher import read_facts

EMBEDDED = Path(__file__).parents[3] / "trainables/embedded_teacher"
SPEC = {
    "name": "own", "teacher": {"path": "teacher"}, "corpus": {"source": "text", "sequence_length": 16},
    "space": {"method": ["hs"], "shape": ["2x96"]},
    "tasks": [{"name": "x", "source": "rows", "kind": "classification"}],
}  # fmt: skip


CONFIG = {
    "method": "hs", "mapping": "uniform", "num_layers": 2, "hidden_size": 96, "num_heads": 6, "learning_rate": 1e-3,
    "intermediate_size": 384, "initialisation": "projected", "batch_size": 16, "train_tokens": 1000,
}  # fmt: skip
"""A trial without weights."""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Teacher, corpus and task of a project, and a study of them that has begun."""
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "project"
    shutil.copytree(EMBEDDED, root / "teacher")
    (root / "text").mkdir()
    for number in range(3):
        (root / f"text/{number}.txt").write_text("\n".join(f"some text of file {number}, line {i}" for i in range(80)))
    write_rows(root, [f"row {i}" for i in range(40)])
    begin(root)
    return root


def write_rows(root, texts):
    (root / "rows").mkdir(exist_ok=True)
    for split, each in {"train": texts, "dev": [f"dev {i}" for i in range(10)]}.items():
        lines = [json.dumps({"text": text, "label": i % 2}) for i, text in enumerate(each)]
        (root / f"rows/{split}.jsonl").write_text("\n".join(lines))


def study_of(root, spec=SPEC):
    return check_all(json.loads(json.dumps(spec)), root, "own.toml", read_facts)


def begin(root, spec=SPEC):
    """What a run writes before its first trial."""
    study, store = study_of(root, spec), Store(root / "studies/own")
    data = read_inputs(study.spec, lambda line: None, lambda line: None)
    meta = dataclasses.replace(_meta(study), contents=digests_of(data.contents), place=store.root)
    write_contents(store, data.contents)
    store.write_text("study.json", meta.to_json())
    store.write_text("spec.toml", to_toml(study.spec))


def _meta(study):
    found = toy.meta(study.spec, study.space)
    return dataclasses.replace(found, teacher=dataclasses.replace(found.teacher, digest=study.teacher.digest))


def go_on(study, root) -> list[str]:
    """What `run` and `resume` do before they start a cluster; the lines that they say."""
    store, said = Store(root / "studies/own"), []
    refuse_other_study(store, study.spec)
    data = read_inputs(study.spec, lambda line: None, lambda line: None)
    refuse_changed(store, data.contents, data.teacher.facts.digest, said.append)
    return said


def refusal(root) -> str:
    with pytest.raises(StillhouseError) as caught:
        go_on(study_of(root), root)
    return str(caught.value)


def test_the_same_content_at_another_path_is_the_same_study(project):
    moved = project.rename(project.with_name("renamed"))
    assert go_on(study_of(moved), moved) == []  # run SPEC DIR
    resumed = stored_study(str(moved / "studies/own"))
    assert resumed.spec.corpus.source == str(moved / "text") and go_on(resumed, moved) == []  # resume DIR
    shutil.move(moved / "text", moved / "elsewhere")
    spec = SPEC | {"corpus": SPEC["corpus"] | {"source": "elsewhere"}}
    assert go_on(study_of(moved, spec), moved) == []


def test_what_changed_is_named_with_counts(project):
    rows = [f"row {i}" for i in range(40)]
    write_rows(project, [*rows[:37], "other", "texts", "here"])
    assert refusal(project).endswith("choose another folder:\n  task 'x': 3 of 40 rows of train differ")
    write_rows(project, rows)
    (project / "text/1.txt").write_text("another text\n" * 80)
    (project / "text/3.txt").write_text("one more\n" * 80)
    config = json.loads((project / "teacher/config.json").read_text())
    (project / "teacher/config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.3}))
    text = refusal(project)
    assert "teacher: config.json is changed" in text and "corpus: 1.txt (train) is changed" in text
    assert "corpus: 3.txt (train) is new" in text and "task" not in text
    (project / "studies/own" / FILE).unlink()
    assert "corpus: differs" in refusal(project)  # the digests of study.json are enough to refuse


def test_every_command_that_goes_on_compares_before_ray_starts(project, monkeypatch):
    """run, resume, confirm, promote and warm starts: as far as a cluster with the same content, refused with other."""

    class Reached(Exception):
        """Where a cluster of Ray would start."""

    def start(*wanted):
        raise Reached

    monkeypatch.setattr("search.phases.runner.cluster", start)
    monkeypatch.chdir(project)
    folder, driver = str(project / "studies/own"), Driver(say=lambda line: None)
    for name, more in {"own": {}, "warm": {"name": "warm", "search": {"warm_start": ["studies/own"]}}}.items():
        (project / f"{name}.toml").write_text(tomli_w.dumps(SPEC | more))
    store = Store.of(folder)
    store.write_trial(toy.row(trial=0, **CONFIG))
    commands = {
        "run": lambda: run_spec("own.toml", folder, driver),
        "resume": lambda: resume(folder, driver),
        "confirm": lambda: confirm(folder, driver, 1, 2),
        "promote": lambda: promote(folder, str(project / "promoted"), 0, Promotion(), driver),
        "warm start": lambda: run_spec("warm.toml", str(project / "warm"), driver),
    }
    for command in commands.values():
        with pytest.raises(Reached):
            command()
    write_rows(project, [*(f"row {i}" for i in range(37)), "other", "texts", "here"])
    for name, command in commands.items():
        with pytest.raises(StillhouseError, match="task 'x': 3 of 40 rows of train differ") as caught:
            command()
        assert ("warm_start: qualities in" in str(caught.value)) == (name == "warm start")


def test_settings_are_compared_all_the_same(project):
    with pytest.raises(StillhouseError, match=r"corpus\.sequence_length: 16 in the study, 32"):
        go_on(study_of(project, SPEC | {"corpus": {"source": "text", "sequence_length": 32}}), project)


def test_a_study_without_digests_is_told_of_and_known_by_its_paths(project):
    store = Store(project / "studies/own")
    store.write_text("study.json", dataclasses.replace(store.read_meta(), contents={}, place="").to_json())
    (project / "text/1.txt").write_text("another text\n" * 80)
    (line,) = go_on(study_of(project), project)
    assert "keeps no digests" in line
    moved = project.rename(project.with_name("renamed"))
    assert "corpus.source" in refusal(moved)
    weights = moved.with_name("project")
    moved.rename(weights)
    config = json.loads((weights / "teacher/config.json").read_text())
    (weights / "teacher/config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.3}))
    assert "teacher: its weights or config.json are others" in refusal(weights)


def test_another_tokenizer_of_students_is_another_study(project):
    """Also for a study that would learn from this one."""
    own = project / "tokenizer"
    own.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EMBEDDED / name, own / name)
    spec = SPEC | {
        "student": {"tokenizer": "tokenizer"}, "space": SPEC["space"] | {"method": ["embed"]},
        "corpus": SPEC["corpus"] | {"texts": "single"},
    }  # fmt: skip
    shutil.rmtree(project / "studies")
    begin(project, spec)
    warm = study_of(project, spec | {"name": "warm", "search": {"warm_start": ["studies/own"]}}).spec
    assert go_on(study_of(project, spec), project) == []
    refuse_incomparable(warm, read_inputs(warm, lambda line: None, lambda line: None).contents)
    config = json.loads((own / "tokenizer_config.json").read_text())
    (own / "tokenizer_config.json").write_text(json.dumps(config | {"model_max_length": 96}))
    changed = "student's tokenizer: tokenizer_config.json is changed"
    with pytest.raises(StillhouseError, match=changed):
        go_on(study_of(project, spec), project)
    with pytest.raises(SpecError, match=changed):
        refuse_incomparable(warm, read_inputs(warm, lambda line: None, lambda line: None).contents)
    without = {key: value for key, value in spec.items() if key != "student"}
    with pytest.raises(StillhouseError, match=r"student\.tokenizer|student's tokenizer: was there"):
        go_on(study_of(project, without), project)
