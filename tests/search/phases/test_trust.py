"""A study folder from somebody else: whatever lies in it, none of its code runs here."""

import json
import os
import pickle
import shutil
import tomllib
from pathlib import Path

import fake_trials
import pytest
import toy
from fake_studies import finished_row, write_study

from search.cli.main import main
from search.phases.runner import refuse_other_study, stored_study
from search.store.parts import Store, now
from search.tune.tuning import ask_tell, job_maker
from spaces.errors import SpecError, StillhouseError
from trainables.models.teacher import load_teacher, read_facts

EMBEDDED = Path(__file__).parents[3] / "trainables/embedded_teacher"


class Planted:
    """A pickle of it creates a file when it is loaded."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (str(self.proof),)


@pytest.fixture
def proof(tmp_path):
    """Where the planted code would leave its trace; the test fails when it did."""
    folder = tmp_path / "code ran"
    yield folder
    assert not folder.exists()


@pytest.fixture
def payload(proof):
    """A pickle that has been seen to run its code."""
    data = pickle.dumps(Planted(proof))
    pickle.loads(data)
    proof.rmdir()
    return data


def plant(folder, proof, payload):
    """Custom code and pickles beside a student's or teacher's own files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "model.pkl"):
        (folder / name).write_bytes(payload)
    code = f"import os\nos.mkdir({str(proof)!r})\nclass Evil: pass\n"
    for name in ("evil.py", "modeling_evil.py", "__init__.py", "setup.py"):
        (folder / name).write_text(code)
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).exists():
            table = json.loads((folder / name).read_text())
            table["auto_map"] = dict.fromkeys(
                ("AutoConfig", "AutoModel", "AutoModelForMaskedLM", "AutoTokenizer"), "evil.Evil"
            ) | {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}  # fmt: skip
            (folder / name).write_text(json.dumps(table))


@pytest.fixture
def study(tmp_path, proof, payload):
    """A study of two trials with a student each, and everything that a bad neighbour could think of."""
    rows = [finished_row(trial, 0.5 + trial / 10, (2 + trial, 128)) for trial in range(2)]
    folder = write_study(tmp_path / "study", rows)
    text = toy.SPEC.replace('path = "invented"', 'path = "package:trainables/embedded_teacher"')
    (folder / "spec.toml").write_text(
        toy.to_toml(toy.read(text.replace("[2, 3, 4]", "[2, 3]").replace(", 384]", "]"))[0])
    )
    store = Store(folder)
    for row in rows:
        shutil.copytree(EMBEDDED, folder / row["student_path"])
        plant(folder / row["student_path"], proof, payload)
        asked = {
            "trial": row["trial"],
            "config_hash": row["config_hash"],
            "config": '{"method": "mha"}',
        }
        store.write_part("asked", row["trial"], [{**asked, "seed": 0, "asked_at": now()}])
    for name in ("tune/searcher-state.pkl", "tune/tuner.pkl", "tune/trainable.pkl", "searcher-state.pkl", "tuner.pkl",
                 "checkpoints/00000/checkpoint.pt", "checkpoints/00000/checkpoint.safetensors", "lease.json",
                 "trials/searcher.pkl", "sampler.pkl", "optuna.pkl"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(payload)
    return folder


def test_reading_and_exporting_run_nothing(study, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(study)  # so that a module of the folder would be found, if one were looked for
    assert main(["front", str(study), "--json"]) == 0
    assert main(["best", str(study)]) == 0
    assert main(["report", str(study)]) == 0
    exported = tmp_path / "exported"
    assert main(["export", str(study), str(exported), "--trial", "1"]) == 0
    assert "evil" not in (exported / "config.json").read_text() + (exported / "tokenizer_config.json").read_text()
    assert not [path.name for path in exported.iterdir() if path.suffix in (".py", ".bin", ".pkl", ".pt")]


def test_a_student_that_is_only_a_pickle_is_refused(study, tmp_path, capsys):
    (study / "students/00001/model.safetensors").unlink()
    assert main(["export", str(study), str(tmp_path / "exported"), "--trial", "1"]) == 2
    assert "pytorch_model.bin, training_args.bin is a pickle" in capsys.readouterr().err
    assert not (tmp_path / "exported").exists()
    index = {"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": "../../tune/tuner.pkl"}}
    (study / "students/00001/model.safetensors.index.json").write_text(json.dumps(index))
    assert main(["export", str(study), str(tmp_path / "exported"), "--trial", "1"]) == 2


def test_a_pickle_named_like_a_part_is_damage(study, payload, capsys):
    (study / "trials/part-00001.parquet").write_bytes(payload)
    for command in ("front", "best", "report"):
        assert main([command, str(study)]) == 1
        assert "part-00001.parquet is damaged" in capsys.readouterr().err
    with pytest.raises(StillhouseError, match=r"part-00001\.parquet is damaged"):
        Store(study, ["package", "pairs"]).read_rows("trials")


def test_resuming_runs_nothing(tmp_path, proof, payload, study):
    folder = tmp_path / "toy"
    plan = toy.plan(journal=str(tmp_path / "journal"))
    first = ask_tell(plan, Store(folder, ["toy"]), print)
    first.ask()
    for name in ("tune", "checkpoints", "students"):
        shutil.copytree(study / name, folder / name)
    shutil.copy(study / "spec.toml", folder / "spec.toml")
    stored = stored_study(str(folder))
    refuse_other_study(Store(folder), stored.spec)
    assert stored.teacher.family.name == "bert"
    store = Store(folder, ["toy"])
    with store.locked():
        again = ask_tell(plan, store, print)
        make_job = job_maker(plan, again.history, lambda trial: None)
        while (ask := again.ask()) is not None:
            again.tell(ask.trial, fake_trials.study_trial(make_job(ask), lambda row: None, 0, 1))
    assert again.tally.ended == "the budget of 8 trials is spent"


def test_a_teacher_brings_weights_and_no_code(tmp_path, proof, payload, monkeypatch):
    teacher = tmp_path / "teacher"
    shutil.copytree(EMBEDDED, teacher)
    plant(teacher, proof, payload)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert load_teacher(str(teacher)).facts == read_facts(str(teacher))
    table = tomllib.loads(toy.SPEC) | {"teacher": {"path": "package:teacher.below/model"}}
    with pytest.raises(SpecError, match=r"no package 'teacher\.below'"):
        toy.check_all(table, tmp_path, "spec.toml", read_facts)  # to look for a.b is to import a
    config = json.loads((teacher / "config.json").read_text())
    (teacher / "config.json").write_text(json.dumps(config | {"model_type": "evil"}))
    with pytest.raises(SpecError, match="models of type 'evil' cannot be distilled"):
        read_facts(str(teacher))
    (teacher / "model.safetensors").unlink()
    (teacher / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpecError, match="is a pickle, which can run code when it is read and is never loaded"):
        load_teacher(str(teacher))
