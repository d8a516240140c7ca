#!/usr/bin/env bash
# transformers 5.23.0 and tokenizers 0.23.3: whether tokenizer.json pads depends on the last call before save_pretrained.
#
# A tokenizer that was called with padding=True, truncation=True and then saved writes both settings into tokenizer.json.
# Who serves the folder with `tokenizers` alone (the usual way beside onnxruntime) then gets every text cut at that
# call's max_length, and padded to the longest of a batch; the same folder saved before the call does neither. AutoTokenizer
# sets both anew on each call and shows no difference, so that the export looks right where it was made.
# Seen: transformers 5.23.0, tokenizers 0.23.3. Source: transformers/tokenization_utils_tokenizers.py,
# set_truncation_and_padding.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3
cd "$folder"
cat > look.py <<'PY'
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

pieces = ["[PAD]", "[UNK]", "one", "two", "three", "four"]
words = Tokenizer(models.WordLevel({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
texts = ["one", "one two three four"]


def lengths(folder):
    alone = [len(cut.ids) for cut in Tokenizer.from_file(f"{folder}/tokenizer.json").encode_batch(texts)]
    return alone, [len(ids) for ids in AutoTokenizer.from_pretrained(folder)(texts)["input_ids"]]


tokenizer.save_pretrained("before")
tokenizer(texts, padding=True, truncation=True, max_length=2)
tokenizer.save_pretrained("after")
print("saved before the call: tokenizers alone", lengths("before")[0], "AutoTokenizer", lengths("before")[1])
print("saved after the call:  tokenizers alone", lengths("after")[0], "AutoTokenizer", lengths("after")[1])
assert lengths("before") == ([1, 4], [1, 4])
assert lengths("after") == ([2, 2], [1, 4]), "the behaviour has changed"
PY
venv/bin/python look.py
