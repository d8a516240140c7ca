"""A smaller vocabulary for a narrower world: keep the word pieces that a corpus uses, drop the rest.

In a small encoder most parameters are word embeddings; XLM-R has 250,000 rows of them. The kept rows of the embeddings
and of the language-modelling head are copied as they are. What is exact: a text whose pieces are all kept falls into
the same pieces, and after mapping ids has the same hidden states, and the same logits for the kept words.

- WordPiece takes the longest piece that fits. A piece that is kept remains the longest where it was.
- Unigram takes the segmentation with the largest sum of scores. Scores are kept, and fewer pieces are fewer rivals; an
  unknown character costs more than any piece, by construction.
- BPE applies merges by rank, to bytes (RoBERTa's, ModernBERT's) or to characters, of which those without a piece are
  spelled in bytes (Gemma's, mmBERT's). A kept piece brings the pieces it is merged from, and every merge whose parts
  and result are kept stays, in its order: of the merges that a text can undergo none that it did undergo is missing.

Other texts still have pieces: ASCII characters (but for byte-level BPE) and all bytes (BPE) are always kept, and a word
whose piece is gone falls apart into pieces that are left. Other characters are unknown where no piece is left of them,
but for BPE, which spells them in bytes.
"""

import copy
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from spaces.errors import SpecError
from spaces.telling import Say, announced
from trainables.models.encoder import build_model, family_of, outputs_of, word_embeddings
from trainables.models.tokenizer import save_tokenizer

COUNTED = 2_000
"""Texts that are tokenised at a time."""
SPECIAL = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token", "bos_token", "eos_token")


@dataclass(frozen=True)
class Kind:
    """How the vocabulary of one kind of tokenizer is cut.

    always: whether a piece is kept whatever the corpus uses. needed: piece -> what it cannot do without. cut: the
    model's entry in tokenizer.json over the kept pieces, numbered by their order.
    """

    always: Callable[[str], bool]
    needed: Callable[[dict[str, Any]], dict[str, set[str]]]
    cut: Callable[[dict[str, Any], Sequence[str]], dict[str, Any]]


@dataclass(frozen=True)
class Trimmed:
    """What became of a vocabulary."""

    pieces: int
    pieces_before: int
    parameters: int
    parameters_before: int
    share_kept: float
    """Of the tokens of the texts, those whose piece is kept."""

    @property
    def text(self) -> str:
        """For a person."""
        return (
            f"{self.pieces_before:,} -> {self.pieces:,} pieces, {self.share_kept:.2%} of the tokens of all texts; "
            f"{self.parameters_before:,} -> {self.parameters:,} parameters"
        )


def cut_wordpiece(model: dict[str, Any], pieces: Sequence[str]) -> dict[str, Any]:
    """Pieces under new numbers."""
    return {**model, "vocab": {piece: number for number, piece in enumerate(pieces)}}


def cut_unigram(model: dict[str, Any], pieces: Sequence[str]) -> dict[str, Any]:
    """Pieces with their scores; added tokens, which come last, are not among them."""
    scores = dict(model["vocab"])
    unknown = None if model["unk_id"] is None else pieces.index(model["vocab"][model["unk_id"]][0])
    return {**model, "vocab": [[piece, scores[piece]] for piece in pieces if piece in scores], "unk_id": unknown}


def cut_bpe(model: dict[str, Any], pieces: Sequence[str]) -> dict[str, Any]:
    """Pieces under new numbers, and the merges between them."""
    numbers = {piece: number for number, piece in enumerate(pieces) if piece in model["vocab"]}
    merges = [pair for pair in pairs_of(model) if {*pair, "".join(pair)} <= numbers.keys()]
    return {**model, "vocab": numbers, "merges": [list(pair) for pair in merges]}


def pairs_of(model: dict[str, Any]) -> list[tuple[str, str]]:
    """The merges, by rank."""
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    return [(left, right) for left, right in pairs]


def merged_from(model: dict[str, Any]) -> dict[str, set[str]]:
    """Piece -> the pieces that any merge makes it from."""
    parts: dict[str, set[str]] = {}
    for left, right in pairs_of(model):
        parts.setdefault(left + right, set()).update((left, right))
    return parts


BYTES = frozenset(ByteLevel.alphabet())
SPELLED_BYTES = frozenset(f"<0x{number:02X}>" for number in range(256))
FALLBACK = "BPE with byte fallback"


def is_plain(piece: str) -> bool:
    """An ASCII character, or what SentencePiece writes for a space."""
    return piece == "▁" or (len(piece) == 1 and piece.isascii())


KINDS: dict[str, Kind] = {
    "WordPiece": Kind(lambda p: len(p.removeprefix("##")) == 1 and p.isascii(), lambda model: {}, cut_wordpiece),
    "Unigram": Kind(is_plain, lambda model: {}, cut_unigram),
    "BPE": Kind(lambda p: p in BYTES, merged_from, cut_bpe),
    FALLBACK: Kind(lambda p: p in SPELLED_BYTES or is_plain(p), merged_from, cut_bpe),
}


def kind_of(raw: dict[str, Any]) -> Kind:
    """Raises SpecError for a tokenizer that cannot be trimmed exactly."""
    name = raw["model"]["type"]
    splitter = raw.get("pre_tokenizer") or {}
    steps = [step["type"] for step in splitter.get("pretokenizers", [splitter]) if step]
    if name == "BPE" and raw["model"].get("byte_fallback") and raw["model"]["vocab"].keys() >= SPELLED_BYTES:
        return KINDS[FALLBACK]
    if name not in KINDS or (name == "BPE" and "ByteLevel" not in steps):
        found = f"{name} that is not byte-level and cannot spell bytes" if name in KINDS else name
        raise SpecError(
            [f"only WordPiece, Unigram and BPE vocabularies over bytes can be trimmed, this one is {found}"]
        )
    return KINDS[name]


def count_pieces(tokenizer: PreTrainedTokenizerBase, texts: list[str], say: Say = lambda line: None) -> Counter[int]:
    """How often the texts use each id; now and then it is told how far the count is."""
    counts: Counter[int] = Counter()
    parts = [texts[start : start + COUNTED] for start in range(0, len(texts), COUNTED)]
    for part in announced(parts, f"pieces: {{}} parts of {COUNTED:,} texts are counted", say):
        for ids in tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"]:
            counts.update(ids)
    return counts


def kept_pieces(tokenizer: PreTrainedTokenizerBase, counts: Counter[int], size: int | None = None) -> list[str]:
    """Special tokens, single characters or bytes, then the pieces that are used most, in the order of their old ids.

    size: pieces in all; None keeps every piece that is used. Raises SpecError for a tokenizer that cannot be trimmed or
    a size that the characters alone exceed.
    """
    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    kind, vocabulary = kind_of(raw), tokenizer.get_vocab()
    kept = {piece for piece in vocabulary if kind.always(piece)}
    added = {token["content"] for token in raw["added_tokens"] if token["special"]}  # Gemma adds thousands of others
    kept |= {*tokenizer.all_special_tokens, *added} & vocabulary.keys()
    if raw["model"].get("unk_id") is not None:
        kept.add(raw["model"]["vocab"][raw["model"]["unk_id"]][0])
    if size is not None and len(kept) > size:
        raise SpecError([f"a vocabulary of {size} pieces is too small: {len(kept)} are needed for single characters"])
    needed = kind.needed(raw["model"])
    for piece in sorted(vocabulary.keys() - kept, key=lambda piece: (-counts[vocabulary[piece]], vocabulary[piece])):
        if len(kept) == size or (size is None and not counts[vocabulary[piece]]):
            break
        wanted, todo = {piece} - kept, [piece]
        while todo:
            more = needed.get(todo.pop(), set()) - wanted - kept
            wanted |= more
            todo += more
        if size is None or len(kept) + len(wanted) <= size:
            kept |= wanted
    return sorted(kept, key=vocabulary.__getitem__)


def trim_tokenizer(tokenizer: PreTrainedTokenizerBase, pieces: list[str]) -> PreTrainedTokenizerBase:
    """The same tokenizer over fewer pieces, numbered in their order."""
    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    ids = {piece: number for number, piece in enumerate(pieces)}
    raw["model"] = kind_of(raw).cut(raw["model"], pieces)
    raw["added_tokens"] = [{**t, "id": ids[t["content"]]} for t in raw["added_tokens"] if t["content"] in ids]
    raw["truncation"] = raw["padding"] = None
    renumber(raw.get("post_processor") or {}, ids)
    special = {name: getattr(tokenizer, name) for name in SPECIAL if getattr(tokenizer, name, None) is not None}
    return PreTrainedTokenizerFast(  # reads what is written here as it stands; the families' own classes build it anew
        tokenizer_object=Tokenizer.from_str(json.dumps(raw)), model_max_length=tokenizer.model_max_length,
        model_input_names=tokenizer.model_input_names, **special,
    )  # fmt: skip


def renumber(processor: dict[str, Any], ids: dict[str, int]) -> None:
    """Give the special tokens that a post-processor adds their new ids."""
    for token in (processor.get("special_tokens") or {}).values():
        token["ids"] = [ids[content] for content in token["tokens"]]
    for name in ("sep", "cls"):
        if isinstance(processor.get(name), list):
            processor[name] = [processor[name][0], ids[processor[name][0]]]
    for part in processor.get("processors", ()):
        renumber(part, ids)


def over_words(config: PretrainedConfig, count: int, ids: Mapping[str, int | None]) -> PretrainedConfig:
    """The config over so many other words, and as many positions; ids: of its special tokens, by their keys.

    Raises SpecError where a family takes another id for padding than the one that comes out.
    """
    found, family = copy.deepcopy(config), family_of(config)
    found.vocab_size = count
    for name in special_keys(config):
        setattr(found, name, ids.get(name))
    first = family.facts(config).position_offset
    if not first or found.pad_token_id == config.pad_token_id:
        return found
    moved = 0 if found.pad_token_id is None else family.facts(found).position_offset - first
    if not moved:
        raise SpecError(
            [
                f"{config.model_type} counts positions from its padding token: id {config.pad_token_id} must stay, but "
                f"would become {found.pad_token_id}"
            ]
        )
    found.max_position_embeddings += moved
    return found


def special_keys(config: PretrainedConfig) -> list[str]:
    """The keys of a config that name special tokens."""
    return [name for name, value in vars(config).items() if name.endswith("_token_id") and isinstance(value, int)]


@torch.no_grad()
def with_words(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], *, lm_head: bool, config: PretrainedConfig | None = None
) -> PreTrainedModel:
    """A copy of the model over other words: row n of its embeddings and of its head is the mean of the old rows[n].

    A word made of none is drawn about the mean of all words, with their spread. config: that of `over_words`; None:
    special tokens are found by their own row. Raises SpecError as that does.
    """
    if config is None:
        own_rows: dict[int, int] = {}
        for number, row in enumerate(rows):
            if len(row) == 1:
                own_rows.setdefault(row[0], number)
        ids = {name: own_rows.get(getattr(model.config, name)) for name in special_keys(model.config)}
        config = over_words(model.config, len(rows), ids)
    scoring, family = outputs_of(model) > 0 and not lm_head, family_of(config)
    small = build_model(config, lm_head=lm_head, scoring=scoring)
    theirs, words = model.base_model.state_dict(), word_embeddings(small)
    places = family.embeddings(small.base_model).positions
    first, their_first = (family.facts(each).position_offset for each in (config, model.config))
    for name, value in small.base_model.state_dict().items():
        if value.data_ptr() == words.data_ptr():
            value.copy_(mixed(theirs[name], rows))
        elif first != their_first and places is not None and value.data_ptr() == places.weight.data_ptr():
            value[first:] = theirs[name][their_first:]
        else:
            value.copy_(theirs[name])
    if scoring or (lm_head and model.get_output_embeddings() is not None):
        head = {n: p for n, p in model.state_dict().items() if not n.startswith(model.base_model_prefix)}
        for name, value in small.state_dict().items():
            if not name.startswith(small.base_model_prefix):
                value.copy_(mixed(head[name], rows) if head[name].shape[0] == model.config.vocab_size else head[name])
    return small.eval()


def mixed(old: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
    """A row for each of `rows`, the mean of those old ones; drawn where there are none, alike in every call."""
    mean, spread = old.mean(0), old.std(0)
    drawing = torch.Generator().manual_seed(0)
    drawn = (mean + spread * torch.randn(mean.shape, generator=drawing) for _ in iter(int, 1))
    return torch.stack([old[list(row)].mean(0) if row else next(drawn) for row in rows])


def trim(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], size: int | None, folder: Path,
    say: Say = lambda line: None,
) -> Trimmed:  # fmt: skip
    """Trim both to the pieces that `texts` use (the `size` most used) and write them to `folder`."""
    counts, vocabulary = count_pieces(tokenizer, texts, say), tokenizer.get_vocab()
    if not counts:
        raise SpecError(["a vocabulary cannot be trimmed to a corpus without a text"])
    pieces = kept_pieces(tokenizer, counts, size)
    old_ids = [vocabulary[piece] for piece in pieces]
    small = with_words(model, [[i] for i in old_ids], lm_head=model.get_output_embeddings() is not None)
    save_tokenizer(trim_tokenizer(tokenizer, pieces), folder)
    small.save_pretrained(folder)
    return Trimmed(
        len(pieces), len(vocabulary), small.num_parameters(), model.num_parameters(),
        sum(counts[i] for i in old_ids) / counts.total(),
    )  # fmt: skip
