"""Whose GPUs a study uses: those of the spec, or a share of what the nodes have that fits the largest students."""

import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import toy

from search.phases import gpus
from search.phases.encoders import sees_gpu
from search.phases.gpus import largest, take_steps, trials_that_fit, with_gpus
from search.spec.checks import check_all
from trainables.lanes.settings import ClusterSpec
from trainables.machine import hardware
from trainables.models.teacher import load_teacher, read_facts
from trainables.text.corpus import prepare_corpus
from trainables.text.sources import CorpusSpec

EMBEDDED = "package:trainables/embedded_teacher"


def study_of(text=toy.SPEC, facts=toy.facts):
    return check_all(tomllib.loads(text), Path("/nowhere"), "toy.toml", facts)


@pytest.mark.parametrize(
    ("line", "nodes", "peak_gb", "share", "said"),
    [
        ("gpus_per_worker = 0", [{"CPU": 8.0, "GPU": 2.0}], None, 0.0, ""),
        ("gpus_per_worker = 0.5", [{"CPU": 8.0}], None, 0.5, ""),
        ("", [{"CPU": 8.0}], None, 0.0, ""),
        ("", [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 8.0}], 1.0, 0.25, "2 in the cluster, 4 trials share one"),
        ("", [{"CPU": 16.0, "GPU": 2.0}], 20.0, 0.3333, "3 trials share one"),
        ("", [{"CPU": 16.0, "GPU": 2.0}], 90.0, 1.0, "may not fit"),
        ("workers_per_trial = 2", [{"CPU": 16.0, "GPU": 2.0}], None, 1.0, "one for each worker"),
    ],
)  # fmt: skip
def test_the_spec_decides_and_else_the_nodes(monkeypatch, line, nodes, peak_gb, share, said):
    def probe(study, corpus):
        assert peak_gb is not None and corpus == "corpora/c"
        return int(peak_gb * 1e9), int(80e9)

    monkeypatch.setattr(gpus, "alive", lambda: nodes)
    monkeypatch.setattr(gpus, "probe", probe)
    study, lines = study_of(f"{toy.SPEC.replace('concurrent_trials = 2', '')}{line}\n"), []
    inputs = SimpleNamespace(data=SimpleNamespace(corpus=Path("corpora/c")))
    found = with_gpus(study, inputs, lines.append)
    assert found.gpus_per_worker == share and found.device == ("cuda" if share else "cpu")
    assert said in "\n".join(lines) and bool(lines) == bool(said)


def test_cpu_only_asks_no_gpu_for_anything(monkeypatch):
    def asked():
        raise AssertionError("a GPU was asked for")

    monkeypatch.setattr(torch.cuda, "is_available", asked)
    assert not sees_gpu(ClusterSpec(gpus_per_worker=0)) and "core" in hardware()
    with pytest.raises(AssertionError, match="asked for"):
        sees_gpu(ClusterSpec())


def test_memory_is_shared_with_some_left():
    assert [trials_that_fit(int(peak * 1e9), int(80e9)) for peak in (0.4, 16.4, 34, 79)] == [68, 4, 1, 0]


def test_the_steps_that_are_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "corpus.txt").write_text("\n".join(f"sentence {n} is about {n * n} words" for n in range(100)))
    study = study_of(toy.SPEC.replace("invented", EMBEDDED).replace("[96, 192, 384]", "[96, 192]"), read_facts)
    configs = list(largest(study.space))
    assert [(each["method"], each["num_layers"], each["hidden_size"]) for each in configs] == [
        ("hs", 4, 192), ("mha", 4, 192)
    ]  # fmt: skip
    for config in configs:
        study.space.check(config)
    text = CorpusSpec(str(tmp_path / "corpus.txt"), sequence_length=16)
    corpus = prepare_corpus(text, load_teacher(EMBEDDED).tokenizer)
    take_steps(study.spec, configs[:1], str(corpus), "cpu")
