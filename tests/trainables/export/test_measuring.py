"""Cost measurements: counts against the real model, memory against the profiler, nothing left changed."""

import os
import resource
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
)

from spaces.errors import SpecError, StillhouseError
from spaces.records.costs import COSTS, Subject
from spaces.records.deploy import DeploySpec
from spaces.records.latency import LatencySpec
from spaces.records.runtimes import FILE_RUNTIMES, RUNTIMES, TORCH
from spaces.students.architecture import StudentArchitecture, TeacherFacts, flops_per_token
from trainables import machine
from trainables.export import resident, throughput
from trainables.export.measuring import (
    LATENCIES,
    measure,
    measure_latency,
    measure_peak_memory,
    subject_of,
)
from trainables.export.resident import memory_columns
from trainables.export.throughput import like_lengths, throughput_columns
from trainables.export.timing import time_passes
from trainables.machine import fingerprint, hardware, pinned_threads, versions, waits_s
from trainables.models.embedding import embedder_of, set_embedder
from trainables.models.families.bert import BertFacts

SHAPE = StudentArchitecture(num_layers=2, hidden_size=32, num_heads=4, intermediate_size=64)
LAYERS = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
COMMON = {"vocab_size": 200, "max_position_embeddings": 66}
BUILDERS = {
    "bert": (lambda: BertModel(BertConfig(**COMMON, **LAYERS), add_pooling_layer=False), 0, 2),
    "roberta": (
        lambda: RobertaModel(RobertaConfig(**COMMON, **LAYERS, type_vocab_size=1), add_pooling_layer=False),
        2,
        1,
    ),
    "distilbert": (
        lambda: DistilBertModel(DistilBertConfig(**COMMON, n_layers=2, dim=32, n_heads=4, hidden_dim=64)),
        0,
        0,
    ),
}


@pytest.mark.parametrize("family", BUILDERS)
def test_the_profile_of_each_family(family):
    build, offset, types = BUILDERS[family]
    model = build()
    facts = TeacherFacts("t", BertFacts(family, offset), SHAPE, 200, 66 - offset, types, False, "0")
    threads = torch.get_num_threads()
    model.train()
    profile = measure(model, SHAPE, facts, LatencySpec(batch_size=2, sequence_length=16))
    parameters = sum(p.numel() for p in model.parameters())
    assert profile["parameters"] == parameters
    embeddings = sum(p.numel() for p in model.embeddings.parameters())
    assert profile["parameters_without_embeddings"] == parameters - embeddings
    assert profile["flops_per_token"] == flops_per_token(SHAPE, facts, 16)
    assert 0 < profile["latency_p50_ms"] <= profile["latency_p95_ms"]
    assert profile["peak_memory_mib"] > 4 * parameters / 2**20
    assert profile["hardware"] == hardware()
    of_models = [cost for cost in COSTS.values() if cost.chosen is None and TORCH in cost.runtimes]
    assert set(profile) == {column.name for cost in of_models for column in cost.columns} | {"hardware"}
    assert model.training
    assert torch.get_num_threads() == threads


def test_a_subject_writes_its_files_once_and_they_go(tmp_path):
    model = BUILDERS["bert"][0]()
    facts = TeacherFacts("t", BertFacts("bert", 0), SHAPE, 200, 66, 2, False, "0")
    with subject_of(model, SHAPE, facts, LatencySpec(sequence_length=16)) as subject:
        folder = subject.folder()
        assert folder == subject.folder() and (folder / "model.safetensors").is_file()
        assert not subject.model.training
        subject.forward()
    assert not folder.exists()


def test_a_longer_sequence_takes_longer_and_more_memory():
    model = BertModel(BertConfig(vocab_size=200, **{**LAYERS, "hidden_size": 128}), add_pooling_layer=False)
    short, long = (measure_latency(model, batch_size=4, sequence_length=n, threads=1) for n in (8, 256))
    assert long.p50_ms > 2 * short.p50_ms
    assert short.runs >= long.runs >= 5
    small, large = (measure_peak_memory(model, batch_size=4, sequence_length=n) for n in (8, 256))
    assert large > small


def test_a_latency_that_moves_is_measured_again_and_says_by_how_much(monkeypatch):
    """On a clock that only passes move: 10 ms of work each, and what they wait for a core."""
    clock = {"perf_counter": 0.0, "thread_time": 0.0}
    for name in clock:
        monkeypatch.setattr(f"trainables.export.timing.time.{name}", lambda name=name: clock[name])
    told = {"1": 5.0}
    monkeypatch.setattr("trainables.export.timing.waits_s", lambda: dict(told))
    waits_s: list[float] = []

    def forward():
        wait_s = waits_s.pop(0) if waits_s else 0
        told["2"] = told.get("2", 0) + wait_s
        clock["perf_counter"] += 0.01 + wait_s
        clock["thread_time"] += 0.01

    steady = time_passes(forward, alone=True)
    assert (steady.p50_ms, steady.moved, steady.runs) == (pytest.approx(10), pytest.approx(0), 99)
    waits_s += [0] * 3 + [0.1] * 4  # busy in the first round only
    again = time_passes(forward, alone=False)
    assert (again.p50_ms, again.moved) == (pytest.approx(10), pytest.approx(0))
    waits_s += [0.02] * 400  # the same in every round: only the system tells
    busy = time_passes(forward, alone=False)
    assert (busy.p50_ms, busy.moved) == (pytest.approx(30), pytest.approx(2))
    waits_s[:] = [0.02] * 400  # a thread that works alone is timed by its own clock
    busy = time_passes(forward, alone=True)
    assert (busy.p50_ms, busy.moved) == (pytest.approx(10), pytest.approx(0))


def test_the_system_tells_how_long_threads_wait_for_a_core():
    """Two threads that multiply, bound to one core: each waits about half of the time."""
    if not waits_s() or not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not tell")
    cores, left = os.sched_getaffinity(0), torch.randn(256, 256)
    end = time.perf_counter() + 0.3
    before = waits_s()

    def multiply():
        os.sched_setaffinity(0, {min(cores)})  # of this thread
        torch.set_num_threads(1)
        while time.perf_counter() < end:
            left @ left  # without the interpreter's lock

    threads = [threading.Thread(target=multiply) for _ in range(2)]
    for thread in threads:
        thread.start()
    waited_s = []
    while time.perf_counter() < end - 0.02:
        waited_s = [after - before.get(thread, 0.0) for thread, after in waits_s().items()]
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert os.sched_getaffinity(0) == cores and max(waited_s) > 0.05


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 4), ("200000 100000", 2), ("50000 100000", 1), ("", 4)])
def test_cores_are_those_of_the_container(quota, cores, monkeypatch, tmp_path):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(machine, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    assert machine.own_cores() == cores and hardware().endswith(f"{cores} core{'s' if cores > 1 else ''}")


def test_texts_that_differ_in_length_take_turns():
    """Two short and a long one: each round has all three equally often, and p95 is of the long one."""
    times_ms = [1, 1, 9]

    def forward():
        clock["perf_counter"] += times_ms[0] / 1000
        clock["thread_time"] += times_ms[0] / 1000
        times_ms.append(times_ms.pop(0))

    clock = {"perf_counter": 0.0, "thread_time": 0.0}
    with pytest.MonkeyPatch.context() as patch:
        for name in clock:
            patch.setattr(f"trainables.export.timing.time.{name}", lambda name=name: clock[name])
        found = time_passes(forward, alone=True, turns=3)
    assert (found.p50_ms, found.p95_ms) == (pytest.approx(1), pytest.approx(9)) and found.runs % 9 == 0
    assert found.moved == pytest.approx(0)


def test_latency_is_of_texts_as_long_as_those_that_are_given(monkeypatch):
    model, seen = BUILDERS["roberta"][0](), []
    facts = TeacherFacts("t", BertFacts("roberta", 2), SHAPE, 200, 64, 0, False, "0")
    with subject_of(model, SHAPE, facts, LatencySpec(batch_size=2), lengths=(3, 9, 20, 20)) as subject:
        hook = subject.model.register_forward_pre_hook(
            lambda module, args, inputs: seen.append(inputs), with_kwargs=True
        )
        for _ in range(subject.turns + 1):
            subject.forward()
        hook.remove()
    assert [each["attention_mask"].sum(1).tolist() for each in seen] == [[3, 9], [20, 20], [3, 9]]
    pad_id = model.config.pad_token_id
    assert all(((each["input_ids"] != pad_id) == each["attention_mask"].bool()).all() for each in seen)


def test_the_time_of_a_text_of_many_is_of_batches_of_like_length(monkeypatch):
    assert like_lengths((128,), 3) == [[128] * 3]
    batches = like_lengths((40, 5, 5, 5, 90, 7, 5, 5), 2)
    assert batches == [[5, 5], [5, 5], [5, 7], [40, 90]]
    asked, calls = [], []
    subject = Subject(
        SHAPE, None, LatencySpec(throughput_batch=2), None, None, None, lengths=(5, 90),
        passes=lambda given: asked.append(given) or (lambda: calls.append(1)),
    )  # fmt: skip
    monkeypatch.setattr(throughput, "time_passes", lambda call, alone: SimpleNamespace(p50_ms=16.0, done=call()))
    assert throughput_columns(subject) == {"text_ms": 2.0}
    assert asked == [[[5, 5], [5, 5], [90, 90], [90, 90]]] and len(calls) == 4
    assert throughput_columns(replace(subject, latency=LatencySpec())) == {"text_ms": None}


def test_peak_memory_agrees_with_the_profiler():
    """The same pass under torch's own profiler, its allocations summed in their order."""
    model = BertModel(BertConfig(vocab_size=200, **LAYERS), add_pooling_layer=False).eval()
    ours = measure_peak_memory(model, batch_size=8, sequence_length=64)
    weights = sum(t.untyped_storage().nbytes() for t in (*model.parameters(), *model.buffers())) / 2**20
    ids = torch.randint(5, 200, (8, 64))
    mask = torch.ones_like(ids)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.inference_mode(), torch.profiler.profile(activities=activities, profile_memory=True) as profiler:
        model(input_ids=ids, attention_mask=mask)
    now = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    assert ours - weights == pytest.approx(peak / 2**20, rel=0.15)


def test_the_masked_lm_head_is_not_measured():
    config = BertConfig(vocab_size=20_000, **LAYERS)
    model = BertForMaskedLM(config)
    alone = measure_peak_memory(model.bert, batch_size=4, sequence_length=64)
    assert measure_peak_memory(model, batch_size=4, sequence_length=64) == alone


def test_a_sequence_beyond_the_position_table_is_refused():
    with pytest.raises(SpecError, match="at most 64 tokens"):
        measure_latency(BUILDERS["roberta"][0](), batch_size=1, sequence_length=65, threads=1)


def test_threads_come_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), pinned_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise RuntimeError
    assert torch.get_num_threads() == before


def test_the_machine_and_the_versions_are_named():
    assert "core" in hardware()
    assert versions()["torch"] == torch.__version__
    assert all(isinstance(value, str) for value in versions().values())


@pytest.mark.xdist_group("onnx")
def test_resident_memory_is_that_of_a_process_of_its_own(tmp_path, graph, monkeypatch):
    """This process has torch in memory, that of a file has not. The batch is of the longest texts that are timed."""
    setting = LatencySpec(sequence_length=16, memory=True)
    subject = Subject(SHAPE, None, setting, None, None, lambda: tmp_path / "nothing", file=graph)
    found = memory_columns(subject)["memory_mb"]
    assert 20 < found < resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    asked = []
    monkeypatch.setattr(resident, "memory_script", SimpleNamespace(__file__=str(tmp_path / "told.py")))
    (tmp_path / "told.py").write_text("import sys; print('a line'); print(len(sys.argv) + int(sys.argv[3]))")
    assert memory_columns(replace(subject, lengths=(5, 9)))["memory_mb"] == 14
    (tmp_path / "told.py").write_text("raise ValueError('no such student')")
    with pytest.raises(StillhouseError, match=r"memory_mb: the process .* failed: ValueError: no such student"):
        memory_columns(subject)
    monkeypatch.setattr(resident.subprocess, "run", lambda *args, **options: asked.append(args))
    for other in (LatencySpec(), replace(setting, device="cuda")):
        assert memory_columns(replace(subject, latency=other)) == {"memory_mb": None}
    assert not asked


@pytest.mark.xdist_group("onnx")
@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
def test_a_runtime_times_the_same_encoder(student, graph, cache, monkeypatch, needs, runtime):
    needs(runtime)
    monkeypatch.setenv("STILLHOUSE_CACHE", str(cache))  # where the student's shape has been traced
    model = BertModel(student.config, add_pooling_layer=False).train()
    set_embedder(model, embedder_of(student))
    latency = LATENCIES[runtime](model, batch_size=1, sequence_length=16, threads=1)
    assert 0 < latency.p50_ms <= latency.p95_ms and latency.runs >= 5 and model.training
    shape = StudentArchitecture(2, 32, 2, 64)
    facts = TeacherFacts("t", BertFacts("bert", 0), SHAPE, 600, 40, 2, False, "0")
    setting = LatencySpec(sequence_length=16, memory=True)
    found = measure(model, shape, facts, setting, DeploySpec(runtime, "int8"))
    assert 0 < found["disk_mb"] < found["float_disk_mb"] == pytest.approx(latency.disk_mb, rel=1e-3)
    kept = LATENCIES[runtime](model, batch_size=1, sequence_length=16, threads=1, precision="int8+6")
    assert len({found["disk_mb"], kept.disk_mb, found["float_disk_mb"]}) == 3
    assert runtime != "onnx" or found["disk_mb"] < kept.disk_mb < found["float_disk_mb"]
    assert found["float_latency_ms"] > 0 and found["memory_mb"] > 20
    assert "peak_memory_mib" not in found  # which is counted in torch
    with pytest.raises(StillhouseError, match=r"has no CUDAExecutionProvider|'openvino' is measured on cpu only"):
        LATENCIES[runtime](model, batch_size=1, sequence_length=16, threads=1, device="cuda")


def test_a_fingerprint_is_of_machine_and_runtime(monkeypatch):
    assert fingerprint("torch") == fingerprint("torch") and len({fingerprint(each) for each in RUNTIMES}) == 3
    before = fingerprint("torch")
    monkeypatch.setattr("trainables.machine.hardware", lambda device: "another machine")
    assert fingerprint("torch") != before
