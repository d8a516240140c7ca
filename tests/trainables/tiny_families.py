"""Tiny models of every family: the config of a shape, and the tokenizer that goes with it.

A new family needs one entry in TINY; the contract tests and the fixtures `write_teacher` and `teachers` run over it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tiny_tokenizers import byte_pairs, unigrams, word_pieces
from transformers import (
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
)

POSITIONS = 40
COMMON = {"initializer_range": 0.1, "max_position_embeddings": POSITIONS}


Shape = tuple[int, int, int, int]


def four(shape: Shape) -> dict[str, int]:
    """A shape under the names that most configs use."""
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
    return dict(zip(names, shape, strict=True))


def distilbert(vocabulary: int, shape: Shape) -> DistilBertConfig:
    """It has names of its own."""
    layers, width, heads, wide = shape
    own = {"n_layers": layers, "dim": width, "n_heads": heads, "hidden_dim": wide}
    return DistilBertConfig(vocab_size=vocabulary, pad_token_id=0, **own, **COMMON)


def roberta(kind: type) -> Callable[[int, Shape], RobertaConfig]:
    """Two positions more than can be used."""
    more = COMMON | {"max_position_embeddings": POSITIONS + 2, "pad_token_id": 1, "type_vocab_size": 1}
    return lambda vocabulary, shape: kind(vocab_size=vocabulary, **more, **four(shape))


def bert(vocabulary: int, shape: Shape) -> BertConfig:
    """Two token types."""
    return BertConfig(vocab_size=vocabulary, pad_token_id=0, type_vocab_size=2, **COMMON, **four(shape))


def electra(vocabulary: int, shape: Shape) -> ElectraConfig:
    """With embeddings as wide as the layers."""
    wide = {"embedding_size": shape[1], "pad_token_id": 0, "type_vocab_size": 2}
    return ElectraConfig(vocab_size=vocabulary, **wide, **COMMON, **four(shape))


def modernbert(vocabulary: int, shape: Shape) -> ModernBertConfig:
    """Local layers see two tokens to each side."""
    ids = {"pad_token_id": 1, "cls_token_id": 0, "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2}
    return ModernBertConfig(vocab_size=vocabulary, local_attention=4, **ids, **COMMON, **four(shape))


@dataclass(frozen=True)
class Tiny:
    """One family's models in the tests."""

    config: Callable[[int, Shape], object]
    """Number of pieces, and layers, width, heads, feed-forward width."""
    tokenizer: Callable[[], PreTrainedTokenizerFast]


TINY: dict[str, Tiny] = {
    "bert": Tiny(bert, word_pieces),
    "roberta": Tiny(roberta(RobertaConfig), byte_pairs),
    "xlm-roberta": Tiny(roberta(XLMRobertaConfig), unigrams),
    "distilbert": Tiny(distilbert, word_pieces),
    "modernbert": Tiny(modernbert, byte_pairs),
    "electra": Tiny(electra, word_pieces),  # of the package in docs/extending.md
}
