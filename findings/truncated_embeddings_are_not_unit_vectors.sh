#!/usr/bin/env bash
# sentence-transformers 6.2.0: with `truncate_dim` a model that ends in Normalize returns vectors that are not of length 1.
#
# Truncation comes after the last module, and nothing is scaled again. So the usual shortcut for a model with Normalize,
# the dot product in place of the cosine (FAISS's inner product, pgvector's <#>, util.dot_score), ranks by lengths as
# well once an index is made of shorter embeddings: below, the nearest of three texts is another one by dot product than
# by cosine. `truncate_dim` is saved with the folder, so who loads it need not know. `encode(normalize_embeddings=True)`
# scales after the truncation.
# Seen: sentence-transformers 6.2.0, transformers 5.23.0, torch 2.13.0. Source: `SentenceTransformer.encode`.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 sentence-transformers==6.2.0 \
    transformers==5.23.0
cd "$folder"
cat > look.py <<'PY'
import itertools
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers import models as modules
from transformers import BertConfig, BertModel, BertTokenizer

words = [f"word{place}" for place in range(20)]
Path("vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
BertTokenizer("vocab.txt").save_pretrained("bert")
torch.manual_seed(0)
config = BertConfig(
    vocab_size=25, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
)
BertModel(config).save_pretrained("bert")
parts = [modules.Transformer("bert"), modules.Pooling(32), modules.Normalize()]
SentenceTransformer(modules=parts, device="cpu", truncate_dim=8).save_pretrained("short")
model = SentenceTransformer("short", device="cpu")
found = model.encode(words)
lengths = np.linalg.norm(found, axis=1)
print(f"{found.shape[1]} values, lengths {lengths.min():.2f} to {lengths.max():.2f}")
dots, cosines = found @ found.T, (found / lengths[:, None]) @ (found / lengths[:, None]).T
others = [(a, b, c) for a, b, c in itertools.permutations(range(20), 3) if dots[a, b] > dots[a, c] and cosines[a, b] < cosines[a, c]]
print(f"{len(others)} of {20 * 19 * 18 // 2} comparisons come out the other way by dot product")
again = np.linalg.norm(model.encode(words, normalize_embeddings=True), axis=1)
assert lengths.max() < 0.9 and others, "the behaviour has changed"
assert np.allclose(again, 1, atol=1e-5)
PY
venv/bin/python look.py 2>/dev/null
