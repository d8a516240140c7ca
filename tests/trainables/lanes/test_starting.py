"""The start of a trial: its configuration's, or the weights of an ancestor where these are better."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from small_tasks import separable, write
from small_trials import EXACT, METHODS, STEP

from spaces.errors import TrialFailed
from trainables.lanes import starting
from trainables.lanes.kept import kept_corpus
from trainables.lanes.messages import Ancestor, TrialJob
from trainables.lanes.starting import rebuilt, start_of
from trainables.lanes.trial import run_trial
from trainables.models.encoder import layers
from trainables.models.student import build_student, load_weights
from trainables.models.teacher import load_teacher
from trainables.tasks.scores import Reference, Scores, StudentScore
from trainables.tasks.scoring import prepare_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec
from trainables.training import loop

CONFIG = {**METHODS["hs"], "initialisation": "projected_layers"}


@pytest.fixture
def job(write_teacher, teacher, corpus_folder, tmp_path):
    columns = {split: separable(count, count) for split, count in (("train", 60), ("dev", 40))}
    task = TaskSpec("toy", str(write(tmp_path / "toy", **columns)), "classification", max_length=16)
    folder = prepare_task(task, teacher.tokenizer, tmp_path / "cache")
    return TrialJob(
        trial=0, config=CONFIG, seed=0, teacher=str(write_teacher("bert")), corpus=str(corpus_folder),
        tasks=(str(folder),), train_tokens=3 * STEP, evaluation=EvaluationSpec(), floors={"toy": Reference(1.0, 0.4)},
        training=EXACT, folder=str(tmp_path / "c0"), student_folder=str(tmp_path / "students/00000"),
    )  # fmt: skip


@pytest.fixture
def parent(job):
    """A trial that has run, without a start that was scored."""
    assert run_trial(job, lambda report: None).kept_tokens == 3 * STEP
    return Ancestor(0, job.student_folder, 3 * STEP, 1)


def scoring(monkeypatch, own, inherited):
    """Let starts have these qualities."""
    ours, theirs = (Scores(q, {"toy": StudentScore(q, q, 1, "accuracy", "probe")}) for q in (own, inherited))
    monkeypatch.setattr(starting, "start_scores", lambda *given: ours)
    monkeypatch.setattr(starting, "score", lambda *given: (theirs, {}))


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_the_better_start_is_taken(job, parent, teacher, monkeypatch, scheme):
    corpus = kept_corpus(job.corpus)
    child = replace(job, trial=1, ancestor=replace(parent, folder=scheme + parent.folder))
    trained = load_file(f"{parent.folder}/model.safetensors")
    fresh = build_student(dict(CONFIG), teacher, 0, corpus).state_dict()
    scoring(monkeypatch, own=0.4, inherited=0.5)
    start = start_of(child, teacher, corpus)
    assert start.ancestor.trial == 0 and (start.quality, start.tokens, start.generation) == (0.5, 3 * STEP, 1)
    for student in (start.student, rebuilt(start, child, teacher, corpus)):
        weights = student.base_model.state_dict()
        assert all(torch.equal(weights[name], trained[name]) for name in trained)
        assert not all(torch.equal(weights[name], value) for name, value in fresh.items() if name in weights)
    scoring(monkeypatch, own=0.5, inherited=0.5)  # not better
    given = replace(child, ancestor=replace(child.ancestor, is_given=True))
    assert start_of(given, teacher, corpus).ancestor == given.ancestor  # it is there to train this student on
    start = start_of(child, teacher, corpus)
    assert start.ancestor is None and (start.quality, start.tokens, start.generation) == (0.5, 0, 0)
    assert all(torch.equal(value, fresh[name]) for name, value in start.student.state_dict().items())


def test_a_trial_that_goes_on_reads_other_text_and_says_from_whom(job, parent, tmp_path, monkeypatch):
    steps = []
    drawn = loop.batch_indices

    def batch_indices(corpus, batch_size, step, seed):
        steps.append(step)
        return drawn(corpus, batch_size, step, seed)

    monkeypatch.setattr(loop, "batch_indices", batch_indices)
    scoring(monkeypatch, own=-1.0, inherited=-0.5)
    child = replace(
        job, trial=1, ancestor=parent, keeps_start=True, config={**CONFIG, "learning_rate": 5e-4},
        folder=str(tmp_path / "c1"), student_folder=str(tmp_path / "students/00001"),
    )  # fmt: skip
    outcome = run_trial(child, lambda report: None)
    assert sorted(set(steps)) == [3, 4, 5] and (outcome.parent, outcome.ancestor_tokens) == (0, 3 * STEP)
    assert outcome.start_quality == -0.5 and outcome.kept_tokens == outcome.trained.train_tokens == 3 * STEP
    assert f"{6 * STEP:,}" in (tmp_path / "students/00001/README.md").read_text()
    steps.clear()
    grandchild = replace(
        child, trial=2, ancestor=Ancestor(1, child.student_folder, 6 * STEP, 2), folder=str(tmp_path / "c2"),
        student_folder=str(tmp_path / "students/00002"),
    )  # fmt: skip
    outcome = run_trial(grandchild, lambda report: None)
    assert sorted(set(steps)) == [0, 1, 2] and outcome.ancestor_tokens == 6 * STEP
    scoring(monkeypatch, own=-1.0, inherited=2.0)  # which no training reaches
    kept = run_trial(replace(child, trial=3, folder=str(tmp_path / "c3")), lambda report: None)
    assert (kept.kept_tokens, kept.parent, kept.ancestor_tokens) == (0, 0, 3 * STEP)
    weights = [load_file(f"{folder}/model.safetensors") for folder in (parent.folder, child.student_folder)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_layers_of_a_deeper_student(job, teacher, tmp_path):
    deep = replace(job, config={**CONFIG, "num_layers": 3})
    run_trial(deep, lambda report: None)
    taught = load_teacher(deep.student_folder).model
    student = build_student(dict(CONFIG), teacher, 0, kept_corpus(job.corpus))
    load_weights(student, deep.student_folder)
    for ours, theirs in zip(layers(student), (layers(taught)[1], layers(taught)[2]), strict=True):
        assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    words = (model.base_model.get_input_embeddings().weight for model in (student, taught))
    assert torch.equal(*words)
    with pytest.raises(TrialFailed, match="do not fit the student"):
        load_weights(
            build_student({**CONFIG, "num_layers": 4}, teacher, 0, kept_corpus(job.corpus)), deep.student_folder
        )
