"""A smaller vocabulary for a narrower world: keep the word pieces that a corpus uses, drop the rest.

In a small encoder most parameters are word embeddings. A trimmed WordPiece tokenizer still reads every text: single
characters are always kept, and a word whose piece is gone falls apart into pieces that are left. The kept rows of the
embeddings and of the language-modelling head are copied as they are.
"""

import copy
import json
from collections import Counter
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from spaces.errors import SpecError
from trainables.encoder import build_model


def kept_pieces(tokenizer: PreTrainedTokenizerBase, texts: list[str], size: int) -> list[str]:
    """Special tokens, every single character, then the pieces that the texts use most, in the order of their old ids.

    Raises SpecError for a tokenizer that is not WordPiece or a size that the characters alone exceed.
    """
    old = json.loads(tokenizer.backend_tokenizer.to_str())
    if old["model"]["type"] != "WordPiece":
        raise SpecError([f"only WordPiece vocabularies can be trimmed, this one is {old['model']['type']}"])
    vocabulary: dict[str, int] = old["model"]["vocab"]
    counts: Counter[int] = Counter()
    for start in range(0, len(texts), 2000):
        for ids in tokenizer(texts[start : start + 2000], add_special_tokens=False, verbose=False)["input_ids"]:
            counts.update(ids)
    always = set(tokenizer.all_special_tokens)
    always |= {piece for piece in vocabulary if len(piece.removeprefix("##")) == 1 and piece.isascii()}
    if len(always) > size:
        raise SpecError([f"a vocabulary of {size} pieces is too small: {len(always)} are needed for single characters"])
    used = sorted(set(vocabulary) - always, key=lambda piece: (-counts[vocabulary[piece]], vocabulary[piece]))
    return sorted([*always, *used[: size - len(always)]], key=vocabulary.__getitem__)


def trim_tokenizer(tokenizer: PreTrainedTokenizerBase, pieces: list[str]) -> PreTrainedTokenizerBase:
    """The same tokenizer over fewer pieces, numbered in their order."""
    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    ids = {piece: number for number, piece in enumerate(pieces)}
    raw["model"]["vocab"] = ids
    raw["added_tokens"] = [{**t, "id": ids[t["content"]]} for t in raw["added_tokens"] if t["content"] in ids]
    raw["truncation"] = raw["padding"] = None
    for token in ((raw.get("post_processor") or {}).get("special_tokens") or {}).values():
        token["ids"] = [ids[content] for content in token["tokens"]]
    special = {name: getattr(tokenizer, name) for name in
               ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")}  # fmt: skip
    return type(tokenizer)(
        tokenizer_object=Tokenizer.from_str(json.dumps(raw)), model_max_length=tokenizer.model_max_length, **special
    )


@torch.no_grad()
def trim_model(model: PreTrainedModel, old_ids: list[int], *, lm_head: bool) -> PreTrainedModel:
    """A copy of the model over the kept words; row n of its embeddings is row old_ids[n] of the old ones."""
    config = copy.deepcopy(model.config)
    config.vocab_size = len(old_ids)
    config.pad_token_id = old_ids.index(config.pad_token_id) if config.pad_token_id in old_ids else None
    small = build_model(config, lm_head=lm_head)
    theirs = model.base_model.state_dict()
    for name, value in small.base_model.state_dict().items():
        value.copy_(theirs[name][old_ids] if name.endswith("word_embeddings.weight") else theirs[name])
    if lm_head and model.get_output_embeddings() is not None:
        head = {n: p for n, p in model.state_dict().items() if not n.startswith(model.base_model_prefix)}
        for name, value in small.state_dict().items():
            if not name.startswith(small.base_model_prefix):
                value.copy_(head[name][old_ids] if head[name].shape[0] == model.config.vocab_size else head[name])
    return small.eval()


def trim(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], size: int, folder: Path) -> None:
    """Trim both to the pieces that `texts` use and write them to `folder`."""
    pieces = kept_pieces(tokenizer, texts, size)
    vocabulary = tokenizer.get_vocab()
    old_ids = [vocabulary[piece] for piece in pieces]
    trim_tokenizer(tokenizer, pieces).save_pretrained(folder)
    trim_model(model, old_ids, lm_head=model.get_output_embeddings() is not None).save_pretrained(folder)
