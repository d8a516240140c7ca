"""Costs measured again: rows in `profiles`, one measurement per shape, resumable, named by setting and machine."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_studies import finished_row, write_study

from analysis import load
from search.phases import profiling
from search.phases.profiling import profile_study
from search.store.parts import Store
from spaces.errors import SpecError, StillhouseError
from spaces.records.latency import LatencySpec, ProfileSpec
from trainables.export.timing import Latency
from trainables.machine import fingerprint

SETTING = ProfileSpec(threads=1, batch_size=2, sequence_length=16)


def test_a_shape_whose_students_were_not_kept_is_left_out(study: str) -> None:
    for trial, row in {0: finished_row(0, 0.5, (2, 32)), 2: finished_row(2, 0.7, (1, 32))}.items():
        write_study(Path(study) / "rows", [{**row, "student_path": ""}])
        (Path(study) / "rows/trials/part-00000.parquet").rename(Path(study) / f"trials/part-{trial:05d}.parquet")
    lines: list[str] = []
    profile_study(study, SETTING, None, name="here", say=lines.append)
    assert [line.split()[0] for line in lines] == ["teacher", "1x32", "2x32"] and "not measured" in lines[1]
    assert sorted(load(study).profiles["trial"]) == [-1, 0, 1]  # by the student of trial 1
    with pytest.raises(StillhouseError, match="weights of trial 2 were not kept"):
        profile_study(study, SETTING, [2], name="here", say=lines.append)


def test_one_measurement_per_shape_serves_all_its_trials(study: str) -> None:
    lines: list[str] = []
    name = profile_study(study, SETTING, [0], name=None, say=lines.append)
    assert name == f"cpu-torch-t1-b2-l16-{fingerprint('torch')}" and len(lines) == 2  # the teacher and one shape
    rows = load(study).profiles
    assert sorted(rows["trial"]) == [-1, 0, 1] and (rows["latency_p50_ms"] > 0).all()
    assert rows.set_index("trial").loc[0, "latency_p50_ms"] == rows.set_index("trial").loc[1, "latency_p50_ms"]
    assert set(rows["sequence_length"]) == {16} and set(rows["fingerprint"]) == {fingerprint("torch")}
    assert (rows["peak_memory_mib"] > 0).all() and json.loads(rows["versions"].iloc[0])["torch"] == torch.__version__
    again: list[str] = []
    profile_study(study, SETTING, None, name=None, say=again.append)
    assert len(again) == 1  # the shape that was missing, and nothing twice
    profile = load(study).with_profile("cpu-torch")
    assert profile.finished["latency_p50_ms"].notna().all() and profile.meta.latency == LatencySpec(
        batch_size=2, sequence_length=16
    )


def test_the_runtime_measures(study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measure(model, **options):
        asked.append(options)
        return Latency(1.5, 2.0, 7, 0.0, 4.5)

    monkeypatch.setitem(profiling.LATENCIES, "onnx", measure)
    profile_study(study, ProfileSpec(runtime="onnx", threads=3, precision="int8"), [2], name="mine", say=print)
    rows = load(study).profiles
    assert (
        set(rows["profile"]) == {"mine"} and set(rows["runtime"]) == {"onnx"} and rows["peak_memory_mib"].isna().all()
    )
    assert set(rows["precision"]) == {"int8"} and set(rows["disk_mb"]) == {4.5}
    assert ProfileSpec(runtime="onnx", precision="int8").name == "cpu-onnx-int8-t1-b1-l128"
    with pytest.raises(SpecError, match="add --runtime onnx"):
        profile_study(study, ProfileSpec(precision="int8"), None, name=None, say=print)
    assert asked[0] == {"device": "cpu", "threads": 3, "batch_size": 1, "sequence_length": 128, "precision": "int8"}


def test_of_several_precisions_the_rows_of_one_are_measured(study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.of(study)
    for row in store.read_trials():
        store.write_trial(replace(row, precision="fp32"))
        store.write_trial(replace(row, trial=10 + row.trial, status="variant", of_trial=row.trial, precision="int8"))
    monkeypatch.setitem(profiling.LATENCIES, "onnx", lambda model, **options: Latency(1.5, 2.0, 7, 0.0, 4.5))
    for precision, wanted in (("int8", {-1, 10, 11, 12}), ("fp32", {-1, 0, 1, 2}), ("int8-dynamic", {-1, 0, 1, 2})):
        setting = ProfileSpec(runtime="onnx", precision=precision)
        profile_study(study, setting, None, name=precision, say=lambda line: None)
        rows = load(study).profiles
        assert set(rows[rows["profile"] == precision]["trial"]) == wanted
    for number, asked in enumerate(([2], [12], [2, 12])):  # its number in either precision; a mixed front has both
        profile_study(
            study, ProfileSpec(runtime="onnx", precision="int8"), asked, name=str(number), say=lambda line: None
        )
        rows = load(study).profiles
        assert set(rows[rows["profile"] == str(number)]["trial"]) == {-1, 12}
    fast = load(study).with_profile("int8").students.set_index("trial")["latency_p50_ms"]
    assert fast.loc[[10, 11, 12]].tolist() == [1.5] * 3 and fast.loc[[0, 1, 2]].isna().all()


def test_what_cannot_be_measured_is_said(study: str) -> None:
    with pytest.raises(StillhouseError, match="no finished trial 9"):
        profile_study(study, SETTING, [9], name=None, say=print)
    if not torch.cuda.is_available():
        with pytest.raises(StillhouseError, match="no CUDA device"):
            profile_study(study, ProfileSpec(device="cuda"), None, name=None, say=print)


def test_a_latency_that_moves_too_much_is_not_taken_and_measured_by_the_next_call(
    study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Latency(1.0, 2.0, 7, 0.0), Latency(172.0, 200.0, 7, 1.5), Latency(3.9, 4.0, 7, 0.2)]
    monkeypatch.setitem(profiling.LATENCIES, "torch", lambda *args, **options: found.pop(0))
    lines: list[str] = []
    with pytest.raises(StillhouseError, match=r"latencies of 1x32 moved by more than 50%.*or with --threads 1"):
        profile_study(study, SETTING, [2], name="here", say=lines.append)
    assert "172.00 ms" in lines[1] and load(study).profiles["trial"].tolist() == [-1]
    profile_study(study, SETTING, [2], name="here", say=lines.append)
    assert load(study).profiles.set_index("trial").loc[2, "latency_p50_ms"] == 3.9 and not found
