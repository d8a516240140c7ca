"""Cache or live: what the space can ask for, the decision with its numbers, room on the disk, and who holds it."""

import os
import shutil
from dataclasses import replace

import fake_trials
import numpy as np
import pytest
import toy
from safetensors import safe_open

from search.phases.encoders import write_shard_there
from search.phases.teacher_targets import (
    blocks_of_budget,
    decide,
    make_room,
    make_target_plan,
    needs_of_space,
    why_never_cached,
)
from search.phases.writing_targets import build
from search.spec.sections import TeacherSpec
from search.spec.writing import differences
from spaces.errors import StillhouseError
from trainables.copies import locked
from trainables.models.signals import TOKENS, State
from trainables.models.teacher import load_teacher
from trainables.text.corpus import Corpus, open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec
from trainables.training.targets import Needs

EMBEDDED = "package:trainables/embedded_teacher"
GB = 1e9
SPACE = '\nmapping = ["uniform", "last"]\nteacher_layer = [5, 6]\n'


def spec_of(*, trials=16, train_tokens=300_000, space=SPACE, **targets):
    text = toy.SPEC.replace("ffn_ratio = [4.0]", f"ffn_ratio = [4.0]{space}")
    text = text.replace("trials = 8", f"trials = {trials}").replace("300_000", str(train_tokens))
    lines = "".join(f"{key} = {value!r}\n" for key, value in targets.items())
    return toy.read(text + f"[targets]\n{lines}")


def plan_of(spec, space, num_blocks=100_000, seeds=(0,)):
    corpus = Corpus(np.zeros((num_blocks, 64), np.uint16), np.zeros((10, 64), np.uint16), 1000, 4, (0,), "c")
    return make_target_plan(spec, needs_of_space(space, nothing_held), toy.facts(), "/corpora/c", corpus, seeds)


def nothing_held(start, student):
    return ()


def kept(*layers):
    return tuple(State(layer, TOKENS) for layer in layers)


def test_the_layers_that_a_space_can_ask_for():
    space = spec_of()[1]
    # hs: uniform over 2, 3 or 4 layers, last; mha: below layers 5 and 6
    assert needs_of_space(space, nothing_held) == Needs(kept(2, 3, 4, 5, 6))
    space = spec_of(space='\nmapping = ["last"]\nteacher_layer = [5]\n')[1]
    assert needs_of_space(space, nothing_held) == Needs(kept(4, 6))


def test_the_layers_that_starts_hold_are_asked_for_under_held():
    space = spec_of(space='\nmapping = ["held"]\nteacher_layer = [5]\n')[1]
    asked = set()

    def held(start, student):
        asked.add((start, student.num_layers))
        return (1, 3) if start == "first_layers" else ()

    assert needs_of_space(space, held).plain[:2] == kept(1, 2)
    starts = {start for start, _ in asked}
    assert starts == set(space.axes["initialisation"].choices)


def test_the_blocks_that_a_study_meets():
    spec, space = spec_of(train_tokens=10_000)
    assert blocks_of_budget(spec, 64) == 160  # ten batches of 16
    plan = plan_of(spec, space)
    assert (len(plan.blocks), plan.views, plan.held_out) == (160, 1, 10)
    assert 300 < len(plan_of(spec, space, seeds=(0, 1)).blocks) <= 320
    few = plan_of(spec, space, num_blocks=50)
    assert (len(few.blocks), few.views) == (50, 4)
    assert plan.bytes() == (160 + 10) * 64 * 5 * 384 * 2


def test_a_cache_is_made_when_it_pays():
    spec, space = spec_of()
    plan = plan_of(spec, space)
    chosen = decide(spec, plan, space, 1e-4, 2, int(100 * GB))
    assert chosen.cached
    # 4,688 blocks of 64 tokens at 1e-4 s, two at a time; 16 trials of 300,000 tokens in two lanes
    assert chosen.why == (
        "cached, 1.15 GB (3,848 bytes a token as float16); about 23 s to write once, 240 s of teacher in 16 trials"
    )
    one, space = spec_of(trials=1)
    assert decide(one, plan, space, 1e-4, 1, int(100 * GB)).why.startswith("live: a cache would take about 38 s")


@pytest.mark.parametrize(("free", "quota", "named"), [(1, 20.0, "the free disk"), (100, 0.5, "[targets] quota_gb")])
def test_a_cache_that_does_not_fit(free, quota, named):
    spec, space = spec_of(quota_gb=quota)
    plan = plan_of(spec, space)
    chosen = decide(spec, plan, space, 1e-4, 2, int(free * GB))
    assert not chosen.cached
    assert named in chosen.why
    assert "1.15 GB" in chosen.why
    forced, space = spec_of(quota_gb=quota, mode="cache")
    with pytest.raises(StillhouseError, match=r"mode is 'cache', but a cache would take 1\.15 GB"):
        decide(forced, plan, space, 1e-4, 2, int(free * GB))


def test_the_spec_decides_when_it_says_so():
    spec, space = spec_of(mode="live")
    assert why_never_cached(spec, needs_of_space(space, nothing_held)) == "live, as the spec asks"
    assert why_never_cached(spec_of()[0], Needs()) == "none: no method learns from it"
    assert not why_never_cached(spec_of()[0], needs_of_space(space, nothing_held))
    mixed = replace(spec, training=replace(spec.training, mixup=0.1))
    assert why_never_cached(mixed, needs_of_space(space, nothing_held)) == "live: no two mixes of texts are the same"
    spec, space = spec_of(mode="cache", trials=1)
    assert decide(spec, plan_of(spec, space), space, 1e-9, 1, int(1e12)).cached


def test_how_the_teacher_is_read_does_not_make_another_study():
    assert not differences(spec_of(mode="live")[0], spec_of(mode="cache", quota_gb=3.0)[0])
    assert differences(spec_of(dtype="int8")[0], spec_of()[0]) == [
        'targets.dtype: "int8" in the study, "float16" in the spec'
    ]


def test_shards_that_land_on_another_disk_are_missed(ray_cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path))
    monkeypatch.setattr("search.phases.writing_targets.write_shard_there", fake_trials.write_elsewhere)
    spec, space = toy.read(f"{toy.SPEC}cpus_per_worker = 2\n")  # one worker writes them one after the other
    with pytest.raises(StillhouseError, match=f"targets elsewhere than {tmp_path}.*must be the same"):
        build(spec, plan_of(spec, space, num_blocks=100), print)
    assert not list(tmp_path.rglob("plan.json"))  # so nobody takes it for whole


def test_a_small_cache_is_written_by_the_driver_as_workers_write_it(tmp_path, monkeypatch):
    spec, space = spec_of(trials=100, train_tokens=3_000)
    assert decide(spec, plan_of(spec, space), space, 1e-3, 2, int(100 * GB)).here
    spec, space = spec_of()
    assert not decide(spec, plan_of(spec, space), space, 1e-4, 2, int(100 * GB)).here
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "corpus.txt").write_text("\n".join(f"sentence {n} is about {n * n} words" for n in range(100)))
    teacher = load_teacher(EMBEDDED)
    corpus = prepare_corpus(CorpusSpec(str(tmp_path / "corpus.txt"), sequence_length=64), teacher.tokenizer)
    spec, space = spec_of(train_tokens=3_000)
    needs = needs_of_space(space, nothing_held)
    plan = make_target_plan(spec, needs, teacher.facts, str(corpus), open_corpus(corpus), (0,))
    build(spec, plan, print, teacher)
    here = shards_in(plan.folder)
    shutil.rmtree(plan.folder)
    for shard in plan.shards():
        write_shard_there(replace(spec, teacher=TeacherSpec(EMBEDDED)), plan, *shard)
    assert len(here) > 1 and shards_in(plan.folder) == here


def shards_in(folder):
    """Of each file what it says of itself, the checksum of its tensors included."""
    return {
        path.relative_to(folder): safe_open(path, "pt").metadata() for path in sorted(folder.rglob("*.safetensors"))
    }


def test_the_oldest_caches_that_nobody_reads_give_way(tmp_path):
    said = []
    for age, name in enumerate(("new", "read", "old", "older")):
        (tmp_path / name / "train-plain").mkdir(parents=True)
        (tmp_path / name / "train-plain" / "0.safetensors").write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    with locked(tmp_path / "read"):
        make_room(tmp_path, tmp_path / "mine", 250, said.append)
        assert {path.name for path in tmp_path.iterdir()} == {"new", "read"}
        make_room(tmp_path, tmp_path / "mine", 50, said.append)
        assert {path.name for path in tmp_path.iterdir()} == {"read"}
    make_room(tmp_path, tmp_path / "read", 0, said.append)
    assert {path.name for path in tmp_path.iterdir()} == {"read"}
    assert len(said) == 3
