"""A trial: its scores, and a whole one from a job as JSON to an outcome as JSON, in this process."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_tasks import make_bert, make_tokenizer, separable, write
from small_trials import EXACT, METHODS, STEP

from spaces.records.deploy import DeploySpec
from spaces.records.latency import LatencySpec
from spaces.students.transfer import UNTRAINED
from spaces.values import from_json, to_json
from trainables.lanes import judging, starting, trial
from trainables.lanes.judging import score, score_rung, score_tasks
from trainables.lanes.kept import kept_task
from trainables.lanes.messages import TrialJob, TrialOutcome
from trainables.lanes.notice import given
from trainables.lanes.trial import run_trial
from trainables.lanes.worker import attempt
from trainables.models.embedding import embedder_of
from trainables.models.teacher import load_teacher
from trainables.tasks.scores import Reference, Scores, StudentScore
from trainables.tasks.scoring import prepare_task, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec
from trainables.text.corpus import prepare_corpus
from trainables.text.sources import CorpusSpec
from trainables.training.loop import Leaving


def job_of(folders, **more):
    floors = {name: Reference(1.0, 0.4) for name in folders}
    return TrialJob(
        trial=0, config={}, seed=0, teacher="", corpus="", tasks=tuple(map(str, folders.values())), train_tokens=1,
        evaluation=EvaluationSpec(), floors=floors, **more,
    )  # fmt: skip


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    found: dict[str, Path] = {}
    for number, name in enumerate(("a_en", "b_en", "a_de")):
        columns = {"train": separable(60, number), "dev": separable(40, number + 10)}
        if name == "a_de":
            columns["dev"]["label"] = rng.permutation(columns["dev"]["label"]).tolist()
        source = write(tmp_path / name, **columns)
        found[name] = prepare_task(TaskSpec(name, str(source), "classification"), make_tokenizer(), tmp_path / "cache")
    return found


def test_the_worst_language_is_told_where_tasks_name_theirs(folders):
    model = make_bert()
    languages = {"a_en": "en", "b_en": "en", "a_de": "de"}
    found, tested = score(model, job_of(folders, languages=languages), None)
    expected = {
        name: (score_task(model, kept_task(str(folder)), EvaluationSpec(), ["dev"], 0)["dev"].score - 0.4) / 0.6
        for name, folder in folders.items()
    }
    assert found.quality == pytest.approx(np.mean(list(expected.values())))
    assert (found.worst_language, found.worst_language_quality) == ("de", pytest.approx(expected["a_de"]))
    assert not tested
    plain, _ = score(model, job_of(folders), None)
    assert plain == replace(found, worst_language=None, worst_language_quality=None)


def test_a_study_that_deploys_a_file_scores_the_file(folders, monkeypatch):
    student, file = make_bert(), make_bert(num_hidden_layers=1)
    monkeypatch.setattr(judging, "as_deployed", lambda model, deploy, corpus: file if deploy.is_scored else model)
    floors = {name: Reference(1.0, 0.4) for name in folders}
    job = job_of(folders, deploy=DeploySpec("onnx", "int8"), test_floors={}, rung_floors=floors)
    found, _ = score(student, job, None)
    own, of_file = (score(model, job_of(folders), None)[0] for model in (student, file))
    by_its_probes, _ = score_tasks(student, job_of(folders), file)
    assert len({own.quality, of_file.quality, by_its_probes.quality}) == 3
    assert found == replace(of_file, torch_quality=by_its_probes.quality)
    assert {name: each.layer for name, each in by_its_probes.tasks.items()} == {
        name: each.layer for name, each in of_file.tasks.items()
    }
    assert score_rung(student, job, None) == of_file
    in_torch = replace(job, deploy=DeploySpec("onnx", "int8", quality_of="student"))
    assert score(student, in_torch, None)[0] == own


def test_a_student_in_each_precision(folders, teacher, monkeypatch):
    student, files = make_bert(), {"fp32": make_bert(), "int8": make_bert(num_hidden_layers=1)}
    monkeypatch.setattr(judging, "as_deployed", lambda model, deploy, corpus: files[deploy.first])
    job = replace(job_of(folders, deploy=DeploySpec("onnx", ("fp32", "int8"))), config=METHODS["hs"])
    alone = {name: score(student, replace(job, deploy=DeploySpec("onnx", name)), None)[0] for name in files}
    assert score(student, job, None)[0] == alone["fp32"] != alone["int8"]
    (found,) = trial.variants_of(student, job, teacher, None, is_shared_start=False)
    assert (found.precision, found.scores) == ("int8", alone["int8"])
    assert from_json(TrialOutcome, to_json(TrialOutcome(variants=(found,)))).variants == (found,)


def test_a_whole_trial_from_its_job_to_its_outcome(write_teacher, teacher, corpus_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # a study that keeps to CPUs uses none
    columns = {split: separable(count, count) for split, count in (("train", 60), ("dev", 40), ("test", 42))}
    task = TaskSpec("toy", str(write(tmp_path / "toy", **columns)), "classification", max_length=16)
    folder, reference = prepare_task(task, teacher.tokenizer, tmp_path / "cache"), {"toy": Reference(1.0, 0.4)}
    job = TrialJob(
        trial=7, config=METHODS["hs"], seed=0, teacher=str(write_teacher("bert")), corpus=str(corpus_folder),
        tasks=(str(folder),), train_tokens=10 * STEP, evaluation=EvaluationSpec(), floors=reference,
        rung_floors=reference, test_floors=reference, training=EXACT, latency=LatencySpec(sequence_length=16),
        rungs=(5 * STEP,),
        folder=str(tmp_path / "checkpoints/00007"), student_folder=str(tmp_path / "students/00007"),
    )  # fmt: skip
    reports = []

    def told_at_step_3(report):
        reports.append(report)
        if report.step == 3:
            given.set()

    with pytest.raises(Leaving, match="after step 3 of 10"):
        attempt(run_trial, job, told_at_step_3)
    given.clear()
    outcome = attempt(run_trial, from_json(TrialJob, to_json(job)), reports.append)
    assert outcome is not None and not outcome.reason and not torch.cuda.is_initialized()
    assert from_json(TrialOutcome, to_json(outcome)) == outcome
    assert [report.step for report in reports] == list(range(1, 11))
    assert [report.step for report in reports if report.scores] == [5]
    trained, scores = outcome.trained, outcome.scores
    assert trained.steps == 10 and trained.loss_last == reports[-1].loss and trained.targets == "live"
    assert scores.quality == scores.tasks["toy"].recovered == pytest.approx((scores.tasks["toy"].score - 0.4) / 0.6)
    assert outcome.costs["parameters"] > 0 and outcome.costs["latency_p50_ms"] > 0 and outcome.evaluate_s > 0
    assert outcome.test_scores["toy"].protocol == "probe" and outcome.student_path == "students/00007"
    assert load_teacher(job.student_folder).facts.architecture.num_layers == 2
    card = (tmp_path / "students/00007/README.md").read_text()
    assert "95 % interval" in card and "| toy | dev | probe | accuracy | 40 |" in card
    again = attempt(run_trial, job, reports.append)  # from the checkpoint of the last step
    assert again is not None and again.scores == outcome.scores and len(reports) == 11


def test_a_trial_never_ends_below_its_start(write_teacher, teacher, corpus_folder, tmp_path, monkeypatch):
    columns = {split: separable(count, count) for split, count in (("train", 60), ("dev", 40))}
    task = TaskSpec("toy", str(write(tmp_path / "toy", **columns)), "classification", max_length=16)
    folder, reference = prepare_task(task, teacher.tokenizer, tmp_path / "cache"), {"toy": Reference(1.0, 0.4)}
    config = {**METHODS["hs"], "initialisation": "projected_layers"}
    start = {key: value for key, value in config.items() if key not in ("mapping", "learning_rate", "batch_size")}
    job = TrialJob(
        trial=0, config={**start, "method": UNTRAINED}, seed=0, teacher=str(write_teacher("bert")),
        corpus=str(corpus_folder), tasks=(str(folder),), train_tokens=2 * STEP, evaluation=EvaluationSpec(),
        floors=reference, training=EXACT, folder=str(tmp_path / "c0"), student_folder=str(tmp_path / "students/00000"),
        keeps_start=True,
    )  # fmt: skip
    told = []
    untrained = attempt(run_trial, job, told.append)
    assert untrained is not None and not untrained.reason and not told and untrained.trained is None
    assert untrained.start_quality == untrained.scores.quality and untrained.kept_tokens == 0
    scored = []

    def worse(student, job, corpus):
        scored.append(student)
        return replace(untrained.scores, quality=untrained.scores.quality + len(scored) - 1.5), {}

    for room in (trial, starting):
        monkeypatch.setattr(room, "score", worse)
    kept = {}
    for number in (1, 2):  # training lowers the first, and raises the second
        own = replace(job, config=config, trial=number, folder=str(tmp_path / f"c{number}"),
                      student_folder=str(tmp_path / f"students/{number:05d}"))  # fmt: skip
        kept[number] = attempt(run_trial, own, told.append)
    assert len(scored) == 2  # that of the start came from the cache
    assert kept[1].scores == untrained.scores and kept[1].kept_tokens == 0
    assert kept[1].trained_quality == pytest.approx(untrained.scores.quality - 0.5) and kept[1].trained.steps == 2
    assert kept[2].kept_tokens == 2 * STEP and kept[2].scores.quality == kept[2].trained_quality
    weights = [load_file(tmp_path / "students" / f"{n:05d}" / "model.safetensors") for n in range(3)]
    alike = [all(torch.equal(weights[0][name], other[name]) for name in other) for other in weights]
    assert alike == [True, True, False]
    given = replace(job, training=replace(EXACT, start=str(tmp_path / "students/00001")))
    for source, count in (("00001", 3), ("00001", 3), ("00002", 4)):  # the start is its weights, not its path
        shutil.copy(tmp_path / "students" / source / "model.safetensors", tmp_path / "new.safetensors")
        (tmp_path / "new.safetensors").replace(tmp_path / "students/00001/model.safetensors")
        attempt(run_trial, given, told.append)
        assert len(scored) == count


@pytest.mark.parametrize("protocol, kept", [("probe", 2 * STEP), ("finetune", 4 * STEP)])
def test_a_trial_keeps_its_best_rung(write_teacher, teacher, corpus_folder, tmp_path, monkeypatch, protocol, kept):
    columns = {split: separable(count, count) for split, count in (("train", 60), ("dev", 40))}
    task = TaskSpec("toy", str(write(tmp_path / "toy", **columns)), "classification", max_length=16)
    folder = prepare_task(task, teacher.tokenizer, tmp_path / "cache")
    job = TrialJob(
        trial=3, config={**METHODS["hs"], "initialisation": "projected_layers"}, seed=0,
        teacher=str(write_teacher("bert")), corpus=str(corpus_folder), tasks=(str(folder),), train_tokens=4 * STEP,
        evaluation=EvaluationSpec(protocol), floors={"toy": Reference(1.0, 0.4)}, training=EXACT,
        folder=str(tmp_path / "c"), student_folder=str(tmp_path / "students/00003"), keeps_start=True,
        rungs=(STEP, 2 * STEP), rung_floors={"toy": Reference(1.0, 0.4)},
    )  # fmt: skip
    seen = []

    def by_weights(student, job, corpus):  # the second rung is best, and scores the same when it is put back
        weights = {name: value.clone() for name, value in student.state_dict().items()}
        same = [q for q, other in seen if all(torch.equal(value, other[name]) for name, value in weights.items())]
        quality = same[0] if same else {2: 0.9}.get(len(seen), 0.1 * len(seen))
        seen.append((quality, weights))
        return Scores(quality, {"toy": StudentScore(0.5, quality, 1, "accuracy", "probe")}), {}

    for room in (trial, starting):
        monkeypatch.setattr(room, "score", by_weights)
    monkeypatch.setattr(trial, "score_rung", lambda *args: by_weights(*args)[0])
    outcome = attempt(run_trial, job, lambda row: None)
    assert outcome is not None and not outcome.reason and outcome.kept_tokens == kept
    assert [quality for quality, _ in seen[:4]] == [0.0, 0.1, 0.9, pytest.approx(0.3)]  # start, rungs, end
    assert outcome.trained_quality == pytest.approx(0.3) and outcome.trained.train_tokens == 4 * STEP
    assert outcome.scores.quality == pytest.approx(0.9 if kept == 2 * STEP else 0.3)
    written = load_file(tmp_path / "students/00003/model.safetensors")
    expected = seen[2 if kept == 2 * STEP else 3][1]
    assert written and all(torch.equal(value, expected[name]) for name, value in written.items())
    recipe = json.loads((tmp_path / "students/00003/recipe.json").read_text())
    assert recipe["train_tokens"] == kept and ("held_out_loss" in recipe) == (kept == 4 * STEP)


def test_a_trial_of_a_reranker_hands_over_a_cross_encoder(write_teacher, teachers, texts, tmp_path):
    teacher, some = teachers("bert", labels=1), texts(120)
    write(tmp_path / "pairs", train={"query": some[:60], "text": some[60:]})
    spec = CorpusSpec(str(tmp_path / "pairs"), sequence_length=16, texts="pairs")
    rows = {"query": some[:20], "positive": [[text] for text in some[20:40]], "negative": [some[40:44]] * 20}
    task = TaskSpec("toy", str(write(tmp_path / "toy", dev=rows)), "reranking", metric="ndcg_at_10", max_length=16)
    folder = prepare_task(task, teacher.tokenizer, tmp_path / "cache", embedder=embedder_of(teacher.model))
    job = TrialJob(
        trial=1, config={**METHODS["hs"], "method": "score"}, seed=0, teacher=str(write_teacher("bert", labels=1)),
        corpus=str(prepare_corpus(spec, teacher.tokenizer)), tasks=(str(folder),), train_tokens=300,
        evaluation=EvaluationSpec("zero_shot"), floors={"toy": Reference(1.0, 0.4)}, training=EXACT,
        folder=str(tmp_path / "c"), student_folder=str(tmp_path / "student"), keeps_start=True,
    )  # fmt: skip
    outcome = attempt(run_trial, job, lambda row: None)
    assert outcome is not None and not outcome.reason and outcome.scores.tasks["toy"].metric == "ndcg_at_10"
    student = load_teacher(job.student_folder)
    assert student.facts.scores_pairs and student.facts.architecture.num_layers == 2
    again = score_task(student.model, kept_task(str(folder)), job.evaluation, ["dev"], 0)["dev"].score
    assert again == pytest.approx(outcome.scores.tasks["toy"].score)
    assert "CrossEncoder" in (tmp_path / "student/README.md").read_text()
