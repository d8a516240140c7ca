#!/usr/bin/env bash
# sentence-transformers 5.1.2 and 6.2.0: a folder that says how long its embeddings are is read at another length.
#
# SentenceTransformer(..., truncate_dim=8).save() of 6.2.0 writes "truncate_dim": 8 into config_sentence_transformers.json
# and reads it back. 5.1.2 opens the same folder without a word and returns all 16 values: queries by one version and an
# index by the other do not have the same size. With 5 the number has to be given again when the model is loaded.
# Seen: sentence-transformers 5.1.2 beside transformers 4.57.6, 6.2.0 beside 5.23.0; torch 2.13.0.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
install() { "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
install torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0
cd "$folder"
cat > write.py <<'PY'
import torch
from sentence_transformers import SentenceTransformer, models
from transformers import BertConfig, BertModel, BertTokenizerFast

torch.manual_seed(0)
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "small", "text"]
open("vocab.txt", "w").write("\n".join(words))
config = BertConfig(len(words), 16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
BertModel(config).save_pretrained("bert")
BertTokenizerFast("vocab.txt").save_pretrained("bert")
encoder = models.Transformer("bert")
SentenceTransformer(modules=[encoder, models.Pooling(16)], truncate_dim=8).save("folder")
PY
cat > read.py <<'PY'
import json

import sentence_transformers

said = json.load(open("folder/config_sentence_transformers.json"))["truncate_dim"]
model = sentence_transformers.SentenceTransformer("folder", device="cpu")
print(sentence_transformers.__version__, "the folder says", said, "and the embedding has", len(model.encode("a small text")))
PY
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
venv/bin/python write.py 2>/dev/null
venv/bin/python read.py 2>/dev/null | tee six
install transformers==4.57.6 sentence-transformers==5.1.2
venv/bin/python read.py 2>/dev/null | tee five
grep -q "6.2.0 the folder says 8 and the embedding has 8" six && grep -q "5.1.2 the folder says 8 and the embedding has 16" five ||
    { echo "the behaviour has changed"; exit 1; }
