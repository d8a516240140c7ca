"""The contract of the table of runtimes: each entry says all that the rest asks of it."""

import importlib
import tomllib
from pathlib import Path

import pytest

from spaces.errors import SpecError, StillhouseError
from spaces.records import runtimes
from spaces.records.costs import COSTS
from spaces.records.runtimes import (
    FILE_RUNTIMES,
    KEEPING,
    PRECISION_RULES,
    PRECISIONS,
    REFUSED_PRECISIONS,
    RUNTIMES,
    base_of,
    check_precision,
    entry,
    maps_in_float,
    need_runtime,
    what_lacks,
)
from spaces.settings import broken_rules

EXTRAS = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("name", RUNTIMES)
def test_an_entry_is_whole(name):
    runtime = RUNTIMES[name]
    assert runtime.title and runtime.moved_by and runtime.engine in runtime.moved_by and "cpu" in runtime.devices
    assert "fp32" in runtime.precisions and not set(runtime.refused) & set(runtime.precisions)
    assert set(runtime.refused) <= set(PRECISIONS) and not set(REFUSED_PRECISIONS) & set(PRECISIONS)
    assert {COSTS["latency_ms"].name, COSTS["memory_mb"].name} <= {
        cost.name for cost in COSTS.values() if name in cost.runtimes
    }
    if name not in FILE_RUNTIMES:
        assert not runtime.opens and not runtime.needs
        return
    assert len({Path(file).suffix for file in runtime.files.values()} - set(runtime.beside)) == 1
    assert runtime.folder and runtime.loaded_by and name in COSTS["disk_mb"].runtimes
    wanted = {requirement.partition(">")[0] for requirement in EXTRAS[name]}
    assert wanted == set(runtime.needs)  # the extra of its name installs what it needs, and no more


@pytest.mark.parametrize("name", FILE_RUNTIMES)
def test_its_functions_are_there(name):
    pytest.importorskip("torch")
    runtime = RUNTIMES[name]
    assert all(callable(entry(place)) for place in (runtime.opens, runtime.inspects, runtime.writes) if place)
    sample = entry(runtime.sample)
    assert "FILE" in sample.opens and "OUTPUT" in sample.runs
    compile(f"{sample.imports}\n{sample.opens}\n{sample.runs}\n{sample.inputs}", name, "exec")


def test_sizes_count_all_that_belongs_to_a_file(tmp_path):
    for name, size in (("model.onnx", 4000), ("openvino_model.xml", 1000), ("openvino_model.bin", 2000)):
        (tmp_path / name).write_bytes(bytes(size))
    sizes = {name: RUNTIMES[name].size_mb(tmp_path / RUNTIMES[name].files["fp32"]) for name in FILE_RUNTIMES}
    assert sizes == {"onnx": 0.004, "openvino": 0.003}


def test_what_is_missing_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(runtimes, "find_spec", lambda package: None if package == "openvino" else importlib)
    assert what_lacks("torch") == what_lacks("onnx") == []
    line = "runtime 'openvino' needs the package openvino: pip install 'stillhouse[openvino]'"
    assert what_lacks("openvino") == [line]
    with pytest.raises(StillhouseError, match="needs the package openvino: pip install"):
        need_runtime("openvino")
    monkeypatch.setattr(runtimes, "find_spec", lambda package: importlib)
    with pytest.raises(StillhouseError, match="'openvino' is measured on cpu only"):
        need_runtime("openvino", "cuda")
    need_runtime("onnx", "cuda")


@pytest.mark.parametrize(
    "runtime, precision, told",
    [
        ("torch", "int8", "'int8' is of a file for another .* add --runtime onnx or --runtime openvino"),
        ("torch", "int8-dynamic", "add --runtime onnx$"),
        ("torch", "int8+4", r"'int8\+4' is of a file for another .* add --runtime onnx or --runtime openvino"),
        ("openvino", "int8-dynamic+2", r"'int8-dynamic\+2' under 'openvino': OpenVINO multiplies the integers "),
        ("openvino", "int8-dynamic", "multiplies the integers .* Take one of fp32, fp16, int8, int4-weights"),
    ],
)
def test_a_precision_that_a_runtime_has_not_is_refused_with_what_comes_nearest(runtime, precision, told):
    with pytest.raises(SpecError, match=told):
        check_precision(runtime, precision)
    check_precision("onnx", precision)


def test_maps_in_float_are_part_of_a_precision():
    assert set(KEEPING) < set(PRECISIONS)
    for base in KEEPING:
        for precision, count in ((base, 0), (f"{base}+1", 1), (f"{base}+12", 12)):
            assert not broken_rules("precision", PRECISION_RULES, precision)
            assert (base_of(precision), maps_in_float(precision)) == (base, count)
            for name in FILE_RUNTIMES:  # others find the file where they look for it
                if base in RUNTIMES[name].files:
                    assert RUNTIMES[name].file(precision) == RUNTIMES[name].files[base]


@pytest.mark.parametrize(
    "precision, nearest",
    [
        ("int8+", "a whole number from 1. Take int8+1, or int8 with none"),
        ("int8+0", "a whole number from 1. Take int8+1, or int8 with none"),
        ("int8+x", "a whole number from 1. Take int8+1, or int8 with none"),
        ("int8+-3", "a whole number from 1. Take int8+1, or int8 with none"),
        ("int8-dynamic+04", "a whole number from 1. Take int8-dynamic+4, or int8-dynamic with none"),
        ("fp32+2", "fp32 rounds none to integers. Take fp32, or + after int8 or int8-dynamic or int4-weights"),
        ("fp16+2", "fp16 rounds none to integers. Take fp16, or + after int8 or int8-dynamic or int4-weights"),
        ("bf16+2", REFUSED_PRECISIONS["bf16"]),
        ("int9+2", "unknown 'int9+2'. Did you mean 'int8'? Known: fp32, fp16, int8, int8-dynamic, int4-weights"),
    ],
)
def test_what_is_no_number_of_maps_is_refused_with_the_nearest(precision, nearest):
    (found,) = broken_rules("precision", PRECISION_RULES, precision)
    assert repr(precision) in found and found.endswith(nearest)
