"""Tiny models of every family: the config of a shape, and the tokenizer that goes with it.

A new family needs one entry in TINY; the contract tests and the fixtures `write_teacher` and `teachers` run over it.
"""

import string
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
)

WORDS = [a + b + c for a in "bdfgk" for b in "aeiou" for c in ("", "n", "rt")]
POSITIONS = 40
BERT_NAMES = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROBERTA_NAMES = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
COMMON = {"initializer_range": 0.1, "max_position_embeddings": POSITIONS}


def sentences(count: int, seed: int = 0) -> list[str]:
    """Texts in which a word often foretells the next."""
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        word, words = int(rng.integers(len(WORDS))), []
        for _ in range(int(rng.integers(6, 20))):
            words.append(WORDS[word])
            word = (word * 7 + 3) % len(WORDS) if rng.random() < 0.7 else int(rng.integers(len(WORDS)))
        texts.append(" ".join(words))
    return texts


def word_pieces(names: dict[str, str]) -> PreTrainedTokenizerFast:
    """WordPiece with every ASCII character, so that nothing in ASCII is unknown."""
    printable = [c for c in map(chr, range(33, 127)) if c not in string.ascii_uppercase]
    pieces = [*names.values(), *printable, *(f"##{c}" for c in string.ascii_lowercase + string.digits), *WORDS]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token=names["unk"]))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    first, last = names["cls"], names["sep"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", pair=f"{first} $A {last} $B {last}",
        special_tokens=[(first, vocabulary[first]), (last, vocabulary[last])],
    )  # fmt: skip
    return PreTrainedTokenizerFast(tokenizer_object=backend, **{f"{key}_token": name for key, name in names.items()})


def byte_pairs() -> PreTrainedTokenizerFast:
    """Byte-level BPE, learned from the words."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=list(ROBERTA_NAMES.values()), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    backend.train_from_iterator(sentences(200), trainer)
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **{f"{key}_token": name for key, name in ROBERTA_NAMES.items()}
    )


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
    "bert": Tiny(bert, lambda: word_pieces(BERT_NAMES)),
    "roberta": Tiny(roberta(RobertaConfig), lambda: word_pieces(ROBERTA_NAMES)),
    "xlm-roberta": Tiny(roberta(XLMRobertaConfig), lambda: word_pieces(ROBERTA_NAMES)),
    "distilbert": Tiny(distilbert, lambda: word_pieces(BERT_NAMES)),
    "modernbert": Tiny(modernbert, byte_pairs),
    "electra": Tiny(electra, lambda: word_pieces(BERT_NAMES)),  # of the package in docs/extending.md
}
