#!/usr/bin/env bash
# transformers 5.23.0 -> 4.57.6: a plain fast tokenizer that 5 has saved is not loaded by 4, though tokenizer.json is.
#
# PreTrainedTokenizerFast of transformers 5 writes the name of its new base class, TokenizersBackend, into
# tokenizer_config.json; AutoTokenizer of 4.57.6 knows no such class and raises. tokenizer.json itself has the same format:
# with the class name of version 4 in its place, version 4 reads the folder and gives the same tokens. So a model that is
# trained under 5 reaches no service that still runs 4, until one word of its config is changed.
# Seen: transformers 5.23.0 and 4.57.6. Source: tokenizer_class in tokenizer_config.json, transformers/tokenization_utils_tokenizers.py.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
for version in 5.23.0 4.57.6; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "transformers==$version"
done
cd "$folder"
cat > save.py <<'PY'
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

words = Tokenizer(models.WordLevel({"[UNK]": 0, "one": 1, "two": 2}, unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained("saved")
PY
cat > load.py <<'PY'
import json
from pathlib import Path

import transformers
from transformers import AutoTokenizer

file = Path("saved/tokenizer_config.json")
config = json.loads(file.read_text())
print("tokenizer_class:", config["tokenizer_class"], "  read by transformers", transformers.__version__)
try:
    AutoTokenizer.from_pretrained("saved")
    raise SystemExit("it was loaded: the behaviour has changed")
except ValueError as error:
    print("refused:", str(error).splitlines()[0])
file.write_text(json.dumps({**config, "tokenizer_class": "PreTrainedTokenizerFast"}))
found = AutoTokenizer.from_pretrained("saved")("one two three")["input_ids"]
print("with the class name of version 4:", found)
assert config["tokenizer_class"] == "TokenizersBackend" and found == [1, 2, 0], "the behaviour has changed"
PY
5.23.0/bin/python save.py
4.57.6/bin/python load.py
