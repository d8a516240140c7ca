#!/usr/bin/env bash
# torch 2.13.0: on a processor that multiplies bfloat16, fused attention in bfloat16 trains slower than its own formula.
#
# scaled_dot_product_attention is what transformers models call by default. Under autocast on a CPU, with heads of an
# encoder's size and texts of 64 tokens, it takes about twice the time of two products and a softmax, and with its
# gradients about ten times; it is also several times slower than itself in float32, where it is as quick as the formula.
# So a small model gains nothing by bfloat16, or loses, until attn_implementation="eager" makes it twice as fast.
# Seen on an AMD EPYC with avx512_bf16, one thread, 16 texts, 6 heads of 16: fused 9.0 ms, formula 0.8 ms (float32: 1.5
# and 1.3). Source of the kernel: pytorch/pytorch pull request 104863. Says so and stops where the processor has no
# bfloat16.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
cat > "$folder/time.py" <<'PY'
import time

import torch
from torch.nn.functional import scaled_dot_product_attention as fused

if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
    raise SystemExit("this processor does not multiply bfloat16: nothing to see here")
torch.set_num_threads(1)


def formula(query, key, value):
    return (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1) @ value


def least_ms(attention, dtype):
    torch.manual_seed(0)
    inputs = [torch.randn(16, 6, 64, 16, dtype=dtype, requires_grad=True) for _ in range(3)]
    times = []
    for _ in range(30):
        started = time.perf_counter()
        torch.autograd.grad(attention(*inputs).sum(), inputs)
        times.append(time.perf_counter() - started)
    return 1e3 * min(times)


ms = {
    (name, dtype): least_ms(attention, dtype)
    for dtype in (torch.float32, torch.bfloat16)
    for name, attention in (("fused", fused), ("formula", formula))
}
for (name, dtype), value in ms.items():
    print(f"torch {torch.__version__}, {dtype}, {name}: {value:.2f} ms forward and gradients")
assert ms["fused", torch.bfloat16] > 4 * ms["formula", torch.bfloat16], "the behaviour has changed"
assert ms["fused", torch.bfloat16] > 2 * ms["fused", torch.float32], "the behaviour has changed"
assert ms["fused", torch.float32] < 2 * ms["formula", torch.float32]
PY
"$folder/venv/bin/python" "$folder/time.py"
