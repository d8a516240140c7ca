"""What a processor can do, and what a study takes of it."""

import pytest
import torch

from trainables import machine
from trainables.machine import WIDE, multiplies_bf16, use_bf16

CPU = torch.device("cpu")


@pytest.mark.parametrize("has_it", [True, False])
def test_auto_is_bf16_for_wide_models_where_the_processor_multiplies_it(has_it, monkeypatch):
    monkeypatch.setattr(machine, "multiplies_bf16", lambda: has_it)
    assert use_bf16("auto", CPU, WIDE) is has_it
    assert use_bf16("auto", CPU, WIDE - 1) is False
    assert use_bf16("bf16", CPU, 8) is True
    assert use_bf16("fp32", CPU, 768) is False


@pytest.mark.parametrize(
    ("architecture", "avx512", "amx", "expected"),
    [
        ("x86_64", True, False, True),
        ("x86_64", False, True, True),
        ("x86_64", False, False, False),
        ("aarch64", False, False, True),
    ],
)
def test_a_processor_that_imitates_bf16_does_not_multiply_it(architecture, avx512, amx, expected, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(machine.platform, "machine", lambda: architecture)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert multiplies_bf16() is expected
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert multiplies_bf16() is False
