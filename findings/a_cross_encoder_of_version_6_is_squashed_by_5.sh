#!/usr/bin/env bash
# sentence-transformers 6.2.0 and 5.1.2: a cross-encoder saved by 6 gives other scores in 5, without a line about it.
#
# A cross-encoder of one label that returns its raw score (activation Identity, as rerankers have that are trained by
# margins) is saved by 6.2.0, which writes the activation into config_sentence_transformers.json only. 5.1.2 looks for
# it in config.json, finds none and takes its default for one label, a sigmoid. The order of passages stays; limits on
# the score, means of several rerankers and distances between scores do not.
# Seen: sentence-transformers 6.2.0 with transformers 5.23.0; 5.1.2 with 4.57.1; torch 2.13.0. Source: `save_pretrained`
# and `get_default_activation_fn` of CrossEncoder in both.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
for versions in 6.2.0:5.23.0 5.1.2:4.57.1; do
    python3 -m venv "$folder/${versions%:*}"
    "$folder/${versions%:*}/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 \
        "sentence-transformers==${versions%:*}" "transformers==${versions#*:}"
done
cd "$folder"
cat > write.py <<'PY'
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

Path("vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "query", "text"]))
BertTokenizer("vocab.txt").save_pretrained("bert")
torch.manual_seed(0)
config = BertConfig(
    vocab_size=7, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, num_labels=1
)
BertForSequenceClassification(config).save_pretrained("bert")
CrossEncoder("bert", device="cpu", activation_fn=torch.nn.Identity()).save_pretrained("reranker")
PY
cat > read.py <<'PY'
import sentence_transformers
import torch
from sentence_transformers import CrossEncoder

reranker = CrossEncoder("reranker", device="cpu")
found = torch.tensor(reranker.predict([("query", "text"), ("text text", "query")]))
raw = torch.tensor(reranker.predict([("query", "text"), ("text text", "query")], activation_fn=torch.nn.Identity()))
print(f"sentence-transformers {sentence_transformers.__version__}: {found.tolist()}, asked for raw: {raw.tolist()}")
squashed = sentence_transformers.__version__ == "5.1.2"
assert torch.allclose(found, raw.sigmoid() if squashed else raw), "the behaviour has changed"
assert not torch.allclose(raw, raw.sigmoid(), atol=0.1)
PY
6.2.0/bin/python write.py 2>/dev/null
for version in 6.2.0 5.1.2; do $version/bin/python read.py 2>/dev/null; done
