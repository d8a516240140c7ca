"""Tiny models of every family: the config of a shape, and the tokenizer that goes with it.

A new family needs one entry in TINY; the contract tests and the fixtures `write_teacher` and `teachers` run over it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tiny_tokenizers import byte_pairs, ended_byte_pairs, unigrams, word_pieces
from transformers import (
    AlbertConfig,
    BertConfig,
    CamembertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ErnieConfig,
    EuroBertConfig,
    Gemma3TextConfig,
    GteConfig,
    JinaEmbeddingsV3Config,
    MegatronBertConfig,
    ModernBertConfig,
    MPNetConfig,
    NomicBertConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    RobertaConfig,
    UltrabertConfig,
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


def of_words(kind: type, **own: object) -> Callable[[int, Shape], object]:
    """Of the kind of BERT, with what the family has of its own."""
    common = COMMON | {"pad_token_id": 0, "type_vocab_size": 2} | own
    return lambda vocabulary, shape: kind(vocab_size=vocabulary, **common, **four(shape))


def of_sentences(kind: type, **own: object) -> Callable[[int, Shape], object]:
    """Of the kind of XLM-R, with what the family has of its own."""
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1}
    return lambda vocabulary, shape: kind(vocab_size=vocabulary, **(COMMON | ids | own), **four(shape))


def modernbert(vocabulary: int, shape: Shape) -> ModernBertConfig:
    """Local layers see two tokens to each side."""
    ids = {"pad_token_id": 1, "cls_token_id": 0, "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2}
    return ModernBertConfig(vocab_size=vocabulary, local_attention=4, **ids, **COMMON, **four(shape))


def of_bytes(kind: type, **own: object) -> Callable[[int, Shape], object]:
    """Of the kind of EuroBERT: two heads of queries share one of keys and values, and the head has its own matrix."""
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "tie_word_embeddings": False}
    return lambda vocabulary, shape: kind(
        vocab_size=vocabulary,
        mask_token_id=vocabulary - 1,
        num_key_value_heads=shape[2] // 2,
        **(COMMON | ids | own),
        **four(shape),
    )


def gemma(vocabulary: int, shape: Shape) -> Gemma3TextConfig:
    """Two heads of queries share one of keys and values; of two layers one sees a window alone."""
    own = {"num_key_value_heads": shape[2] // 2, "head_dim": shape[1] // shape[2], "sliding_window": 4}
    own |= {"query_pre_attn_scalar": shape[1] // shape[2], "sliding_window_pattern": 2, "use_cache": False}
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "use_bidirectional_attention": True}
    return Gemma3TextConfig(vocab_size=vocabulary, **ids, **own, **COMMON, **four(shape))


def qwen(vocabulary: int, shape: Shape) -> Qwen3Config:
    """Two heads of queries share one of keys and values, all together are twice as wide as the layers."""
    own = {"num_key_value_heads": shape[2] // 2, "head_dim": 2 * shape[1] // shape[2], "use_cache": False}
    return Qwen3Config(vocab_size=vocabulary, eos_token_id=vocabulary - 1, **own, **COMMON, **four(shape))


DISTANCES = {
    "relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0,
}  # fmt: skip
"""As DeBERTa v3 has them."""


def mpnet_pieces() -> PreTrainedTokenizerFast:
    """WordPiece with the special tokens of MPNet, whose padding is 1."""
    return word_pieces({"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "[UNK]", "mask": "<mask>"})


@dataclass(frozen=True)
class Tiny:
    """One family's models in the tests."""

    config: Callable[[int, Shape], object]
    """Number of pieces, and layers, width, heads, feed-forward width."""
    tokenizer: Callable[[], PreTrainedTokenizerFast]
    attention: tuple[str, ...] = ()
    """Paths in a layer to the maps to queries, keys and values, where its attention function gets something else."""


TINY: dict[str, Tiny] = {
    "bert": Tiny(bert, word_pieces),
    "roberta": Tiny(roberta(RobertaConfig), byte_pairs),
    "xlm-roberta": Tiny(roberta(XLMRobertaConfig), unigrams),
    "distilbert": Tiny(distilbert, word_pieces),
    "modernbert": Tiny(modernbert, byte_pairs),
    "camembert": Tiny(roberta(CamembertConfig), unigrams),
    "ernie": Tiny(of_words(ErnieConfig, use_task_id=True, task_type_vocab_size=3), word_pieces),
    "mpnet": Tiny(of_words(MPNetConfig, pad_token_id=1, max_position_embeddings=POSITIONS + 2), mpnet_pieces,
                  ("attention.attn.q", "attention.attn.k", "attention.attn.v")),
    "electra": Tiny(of_words(ElectraConfig, embedding_size=20), word_pieces),
    "albert": Tiny(of_words(AlbertConfig, embedding_size=20), word_pieces),
    "nomic_bert": Tiny(of_words(NomicBertConfig), word_pieces),
    "megatron-bert": Tiny(of_words(MegatronBertConfig), word_pieces,  # of the package in docs/extending.md
                          ("attention.self.query", "attention.self.key", "attention.self.value")),
    "gte": Tiny(of_sentences(GteConfig), unigrams),
    "jina_embeddings_v3": Tiny(of_sentences(JinaEmbeddingsV3Config), unigrams),
    "deberta-v2": Tiny(of_sentences(DebertaV2Config, **DISTANCES), unigrams,
                       ("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj")),
    "eurobert": Tiny(of_bytes(EuroBertConfig), byte_pairs),
    "ultrabert": Tiny(of_bytes(UltrabertConfig, sliding_window=2, prediction_head_size=12), byte_pairs),
    "gemma3_text": Tiny(gemma, byte_pairs, ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
    "qwen3": Tiny(qwen, ended_byte_pairs, ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
}  # fmt: skip
MARKS = ("bert", "ernie", "electra", "albert", "nomic_bert")
"""Those with a token type for the second of two texts."""
