"""Which of transformers' attention functions a model runs.

Shapes: B batch, T tokens.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

PLAIN = "eager"
"""transformers' name for products and a softmax."""
LONGEST = 256
"""Tokens up to which plain attention makes its T x T weights of each head, and is no slower for padded texts."""


@contextmanager
def attention_by(model: PreTrainedModel, name: str) -> Iterator[None]:
    """The model with the attention function of that name, where its family asks transformers for one."""
    encoder: Any = model.base_model
    before = encoder.config._attn_implementation
    asks = before != name and "ALL_ATTENTION_FUNCTIONS" in vars(inspect.getmodule(type(encoder)))
    if asks:
        encoder.set_attn_implementation(name)
    try:
        yield
    finally:
        if asks:
            encoder.set_attn_implementation(before)


@contextmanager
def quick_attention(model: PreTrainedModel, input_ids_BT: Tensor) -> Iterator[None]:
    """The model with the attention function that is quickest for such inputs.

    torch's fused attention has no quick kernel in bfloat16 on a CPU: with its gradients it takes 3 to 17 times as long
    as plain products, without 2 (torch 2.13, tests/bench/attention.py). In float32 there is no such difference. Of long
    padded texts plain products take longer, 2 to 5 times at 512 tokens, and 4 GB where there are 8 of 2048.
    """
    in_bf16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
    if in_bf16 and input_ids_BT.shape[1] <= LONGEST and input_ids_BT.device.type == "cpu":
        with attention_by(model, PLAIN):
            yield
    else:
        yield
