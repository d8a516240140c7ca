"""What a teacher's scores say against a task, before anything is spent on it."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import toy
from small_tasks import WORDS, make_bert, make_tokenizer, write

from search.phases import encoders, spreading
from search.phases.scoring import better_by_cosine, references, score_all
from search.phases.spreading import sooner
from search.spec.sections import TeacherSpec
from search.tune.calls import START_S
from trainables.cache import cache_folder
from trainables.lanes.settings import ClusterSpec
from trainables.models.teacher import load_teacher
from trainables.tasks.scores import EncoderScore, MeasuredReference, Reference
from trainables.tasks.scoring import prepare_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec

EMBEDDED = "package:trainables/embedded_teacher"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A random encoder, and a task whose target is the share of common words, which its cosines follow."""
    rng, here = np.random.default_rng(0), tmp_path_factory.mktemp("pairs")

    def rows(count):
        first, shared = [rng.choice(WORDS, 6, replace=False) for _ in range(count)], rng.integers(0, 7, count)
        second = [[*a[:k], *rng.choice(WORDS, 6 - k)] for a, k in zip(first, shared, strict=True)]
        return {"text": [*map(" ".join, first)], "text2": [*map(" ".join, second)], "label": (shared / 6).tolist()}

    source = write(here / "source", train=rows(60), dev=rows(200))
    folder = prepare_task(TaskSpec("pairs", str(source), "regression"), make_tokenizer(), here / "cache")
    return SimpleNamespace(model=make_bert(), facts=SimpleNamespace(digest="x", scores_pairs=False)), {"pairs": folder}


def found(pairs, probe, protocol="probe", seeds=None):
    spec, said = SimpleNamespace(seed=0, comparison=SimpleNamespace(seeds=seeds), cluster=ClusterSpec()), []
    scored = {"pairs": MeasuredReference(EncoderScore(probe, None, "spearman", protocol), (0.0,))}
    return better_by_cosine(spec, *pairs, scored, said.append), said


def test_a_probed_task_that_the_cosine_solves_better_is_refused_with_both_numbers(pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path))
    problems, said = found(pairs, 0.2)
    assert not said and len(problems) == 1
    cosine = float(problems[0].partition("by the probe and ")[2].split()[0])
    assert problems[0].startswith(f"task 'pairs': the teacher scores 0.200 by the probe and {cosine:.3f} by the cosine")
    assert 'kind = "sts" scores the cosine' in problems[0] and cosine > 0.5
    assert found(pairs, cosine + 0.01) == ([], [])
    within_noise, in_comparison = found(pairs, cosine - 0.02), found(pairs, 0.2, seeds=3)
    for problems, said in (within_noise, in_comparison):
        assert not problems and len(said) == 1 and said[0].startswith("warning: task 'pairs'")
    assert found(pairs, 0.2, protocol="finetune") == ([], [])


def task_of_words(folder, teacher):
    """A task whose labels have nothing to do with its texts."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 6)) for _ in range(80)]
    parts = {"train": texts[:40], "dev": texts[40:]}
    source = write(folder / "source", **{name: {"text": each, "label": [0, 1] * 20} for name, each in parts.items()})
    return {"task": prepare_task(TaskSpec("task", str(source), "classification"), teacher.tokenizer, folder / "t")}


def test_teacher_and_floor_are_scored_once_and_are_values(tmp_path, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path))
    teacher = load_teacher(EMBEDDED)
    tasks = task_of_words(tmp_path, teacher)
    spec, said = SimpleNamespace(seed=0, evaluation=EvaluationSpec(floor_seeds=2), cluster=ClusterSpec()), []
    first = score_all(spec, teacher, tasks, ["dev", "test"], said.append)
    each = first["dev"]["task"]
    assert first["test"] == {} and len(each.floor_seeds) == 2 and each.teacher.metric == "accuracy"
    assert references(first["dev"]) == {"task": Reference(each.teacher.score, sum(each.floor_seeds) / 2)}
    assert said[-1] == f"task task (dev): teacher {each.teacher.score:.3f}, untrained {each.floor:.3f} (accuracy)"
    monkeypatch.setattr(encoders, "score_task", None)  # what is known is not measured again
    assert score_all(spec, teacher, tasks, ["dev", "test"], said.append) == first


def test_workers_score_as_the_driver_does(ray_cluster, tmp_path, monkeypatch):
    teacher, (spec, _) = load_teacher(EMBEDDED), toy.read()
    spec = replace(spec, teacher=TeacherSpec(EMBEDDED), evaluation=EvaluationSpec(floor_seeds=1))
    tasks = task_of_words(tmp_path, teacher)
    here = score_all(spec, teacher, tasks, ["dev"], print)
    shutil.rmtree(cache_folder() / "scores")
    monkeypatch.setattr(spreading, "sooner", lambda *_: True)
    monkeypatch.setattr(encoders, "score_task", None)  # of this process
    assert score_all(spec, teacher, tasks, ["dev"], print) == here


def test_workers_are_asked_where_they_end_sooner(ray_cluster, monkeypatch):
    spec, _ = toy.read()
    assert not sooner(spec, START_S)
    assert sooner(spec, 3 * START_S)  # two of them take 2.5 times as long as one starts
    elsewhere = replace(spec, cluster=replace(spec.cluster, gpus_per_worker=0.5))
    assert sooner(elsewhere, 0.0)  # only they have a GPU
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    assert not sooner(spec, 1e6)


def test_what_is_known_waits_for_no_worker(tmp_path, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path))
    teacher, (spec, _) = load_teacher(EMBEDDED), toy.read()
    spec = replace(spec, teacher=TeacherSpec(EMBEDDED), evaluation=EvaluationSpec(floor_seeds=1))
    tasks = task_of_words(tmp_path, teacher)
    first = score_all(spec, teacher, tasks, ["dev"], print)
    monkeypatch.setattr("search.phases.scoring.spread", None)
    assert score_all(spec, teacher, tasks, ["dev"], print) == first
