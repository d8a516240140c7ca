#!/usr/bin/env bash
# transformers 4.57.1 and 5.23.0: a tokenizer without a class of its own gives token types in version 4 and none in 5.
#
# A BERT whose folder says `"tokenizer_class": "PreTrainedTokenizerFast"` (what a tokenizer from `tokenizers` is saved as,
# without `model_input_names`) reads a pair of texts with types 0 and 1 in version 4. In version 5 the same folder loads
# as TokenizersBackend, and the call returns no token_type_ids: the model takes both texts for the first. A cross-encoder
# or a classifier of pairs then gives other scores, without a line about it. Token ids are the same.
# Seen: transformers 4.57.1, transformers 5.23.0. Source: `model_input_names` of PreTrainedTokenizerBase in both.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
for version in 4.57.1 5.23.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "transformers==$version"
done
cd "$folder"
cat > write.py <<'PY'
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "query", "text"]
words = Tokenizer(models.WordLevel({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
words.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]").save_pretrained("model")
PY
cat > read.py <<'PY'
import json
import sys

import transformers
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("model")
found = dict(tokenizer("a query", "a text"))
print(f"transformers {transformers.__version__}, {type(tokenizer).__name__}: {json.dumps(found)}")
assert found["input_ids"] == [2, 4, 5, 3, 4, 6, 3]
types = [0, 0, 0, 0, 1, 1, 1] if sys.argv[1] == "4.57.1" else None
assert found.get("token_type_ids") == types, "the behaviour has changed"
PY
4.57.1/bin/python write.py
grep -o '"tokenizer_class": "[A-Za-z]*"' model/tokenizer_config.json
for version in 4.57.1 5.23.0; do "$version/bin/python" read.py "$version"; done
