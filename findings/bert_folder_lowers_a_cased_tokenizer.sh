#!/usr/bin/env bash
# transformers 5.23.0: a cased tokenizer.json beside a BERT config is read in lower case by AutoTokenizer.
#
# The folder has a tokenizer.json whose normaliser keeps case (tokenizers trained it so) and a tokenizer_config.json that
# names the class alone, as older releases and hand-made folders have it. `tokenizers` reads the file as it stands.
# AutoTokenizer builds BertTokenizer, takes the vocabulary from the file, and makes the normaliser anew from
# do_lower_case, which is true unless tokenizer_config.json says otherwise: "Berlin" becomes [UNK] without a warning.
# With "do_lower_case": false in tokenizer_config.json both agree.
# Seen: transformers 5.23.0, tokenizers 0.23.3. Source: transformers/models/bert/tokenization_bert.py, __init__.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3
cd "$folder"
cat > look.py <<'PY'
import json
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer

pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Berlin", "is", "large"]
cased = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
cased.normalizer = normalizers.BertNormalizer(lowercase=False)
cased.pre_tokenizer = pre_tokenizers.BertPreTokenizer()


def read(settings):
    folder = Path("model")
    folder.mkdir(exist_ok=True)
    cased.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **settings}))
    return AutoTokenizer.from_pretrained(folder).tokenize("Berlin is large")


print("tokenizers:", cased.encode("Berlin is large").tokens)
print("transformers, class alone:", read({}))
print("transformers, do_lower_case false:", read({"do_lower_case": False}))
assert cased.encode("Berlin is large").tokens == ["Berlin", "is", "large"]
assert read({}) == ["[UNK]", "is", "large"], "the behaviour has changed"
assert read({"do_lower_case": False}) == ["Berlin", "is", "large"]
PY
venv/bin/python look.py
