#!/usr/bin/env bash
# sentence-transformers 6.2.0: `encode(texts, precision="int8")` gives a text other codes when other texts stand beside it.
#
# The range of each dimension is taken from the embeddings of that call, so an index that is filled in several calls
# holds codes that do not belong together, and a query encoded in its own call is compared on another scale. Below 100
# texts there is a warning, for one text an error; from 100 on nothing is said. Two calls of 200 texts, one of them the
# same, differ by tens of 255 steps for that text. `precision="float32"` is the same to rounding.
# Seen: sentence-transformers 6.2.0, transformers 5.23.0, torch 2.13.0. Source: `_get_quantization_ranges` in
# sentence_transformers/util/quantization.py; `quantize_embeddings` takes ranges or calibration embeddings, `encode` none.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 sentence-transformers==6.2.0 \
    transformers==5.23.0
cd "$folder"
cat > look.py <<'PY'
import random
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers import BertConfig, BertModel, BertTokenizer

words = [f"word{place}" for place in range(60)]
Path("vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
BertTokenizer("vocab.txt").save_pretrained("bert")
torch.manual_seed(0)
config = BertConfig(
    vocab_size=65, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
)
BertModel(config).save_pretrained("bert")
model = SentenceTransformer("bert", device="cpu")  # a bare encoder gets mean pooling
draw = random.Random(0)
texts = [" ".join(draw.choices(words, k=3)) for _ in range(399)]
calls = [texts[:200], texts[:1] + texts[200:]]
floats = [model.encode(call)[0] for call in calls]
codes = [model.encode(call, precision="int8")[0].astype(int) for call in calls]
apart = np.abs(codes[0] - codes[1])
print(f"float32: {np.abs(floats[0] - floats[1]).max():.1e} apart; int8: up to {apart.max()} steps, {apart.mean():.1f} on average")
assert np.allclose(floats[0], floats[1], atol=1e-5)
assert apart.max() > 10, "the behaviour has changed"
PY
venv/bin/python look.py 2>/dev/null
