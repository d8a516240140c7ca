#!/usr/bin/env bash
# transformers 5.23.0: a ModernBERT that is loaded with fewer layers runs and trains, and only saving it is refused.
#
# `from_pretrained(folder, num_hidden_layers=3)` is the usual way to cut the upper layers of an encoder. A BERT that was cut so
# is saved. The configuration of ModernBERT also lists the type of each layer, and this list keeps its length. Nothing checks
# it when the configuration is changed, when the model is built from it, or in its passes; `save_pretrained` does, and
# raises: after the training. To cut `layer_types` as well is enough.
# Seen: transformers 5.23.0, torch 2.13.0.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0
cd "$folder"
cat > look.py <<'PY'
import torch
import transformers
from transformers import AutoModel, BertConfig, BertModel, ModernBertConfig, ModernBertModel

transformers.logging.set_verbosity_error()
SIZES = dict(vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=6, num_attention_heads=2)
WORDS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2)


def cut_and_saved(name, **more):
    """Whether the lower half of a saved model can be saved after a step of training."""
    model = AutoModel.from_pretrained(name, num_hidden_layers=3, **more)
    states = model(input_ids=torch.tensor([[1, 5, 2]])).last_hidden_state
    states.sum().backward()
    kinds = getattr(model.config, "layer_types", None)
    print(f"{name}: states {tuple(states.shape)}, types of layers: {len(kinds) if kinds else 'none'}", end="; ")
    try:
        model.save_pretrained(f"{name}-cut")
    except Exception as error:
        print("not saved:", str(error).strip().splitlines()[-1].strip())
        return False
    print("saved")
    return True


BertModel(BertConfig(**SIZES)).save_pretrained("bert")
whole = ModernBertModel(ModernBertConfig(**SIZES, **WORDS))
whole.save_pretrained("modernbert")
assert cut_and_saved("bert")
assert not cut_and_saved("modernbert"), "the behaviour has changed"
assert cut_and_saved("modernbert", layer_types=whole.config.layer_types[:3])
PY
venv/bin/python look.py 2>/dev/null
