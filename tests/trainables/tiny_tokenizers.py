"""Tiny tokenizers of the kinds that the families have, over one language of 45 words, and texts of it."""

import json
import string

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AddedToken, PreTrainedTokenizerFast, Qwen2Tokenizer, RobertaTokenizer, XLMRobertaTokenizer

WORDS = [a + b + c for a in "bdfgk" for b in "aeiou" for c in ("", "n", "rt")]
BERT_NAMES = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROBERTA_NAMES = ["<s>", "<pad>", "</s>", "<unk>"]
"""With the ids 0 to 3, as RoBERTa and XLM-R have them; <mask> is the last piece."""
END = "<|endoftext|>"


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


def word_pieces(names: dict[str, str] = BERT_NAMES) -> PreTrainedTokenizerFast:
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
        single=f"{first} $A {last}", pair=f"{first} $A {last} $B:1 {last}:1",
        special_tokens=[(first, vocabulary[first]), (last, vocabulary[last])],
    )  # fmt: skip
    return PreTrainedTokenizerFast(tokenizer_object=backend, **{f"{key}_token": name for key, name in names.items()})


def byte_merges(texts: list[str], size: int, first: list[str]) -> tuple[dict[str, int], list[tuple[str, ...]]]:
    """Pieces of byte-level BPE with these special tokens at first, and the merges that make them."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size, special_tokens=first, show_progress=False, initial_alphabet=alphabet,
    ))  # fmt: skip
    learned = json.loads(backend.to_str())["model"]
    return learned["vocab"], [tuple(pair) for pair in learned["merges"]]


def byte_pairs(texts: list[str] | None = None, size: int = 340) -> RobertaTokenizer:
    """As RoBERTa's: byte-level BPE, where no text is unknown and a word has another piece after a space."""
    pieces, merges = byte_merges(texts or sentences(200), size - 1, ROBERTA_NAMES)
    vocabulary = pieces | {"<mask>": len(pieces)}
    return RobertaTokenizer(vocab=vocabulary, merges=merges, mask_token=AddedToken("<mask>", lstrip=True, special=True))


def ended_byte_pairs() -> Qwen2Tokenizer:
    """As Qwen3-Embedding's: byte-level BPE with one special token, which ends a text and pads, and no mask."""
    pieces, merges = byte_merges(sentences(200), 340, [])
    tokenizer = Qwen2Tokenizer(vocab=pieces | {END: len(pieces)}, merges=merges)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", pair=f"$A {END} $B:1 {END}:1", special_tokens=[(END, len(pieces))]
    )
    return tokenizer


def unigrams() -> XLMRobertaTokenizer:
    """As XLM-R's: a Unigram model of SentencePiece with every ASCII character; other characters are unknown."""
    pieces = [(name, 0.0) for name in ROBERTA_NAMES]
    pieces += [(f"▁{word}", -3.0 - len(word)) for word in WORDS] + [("▁", -4.0)]
    pieces += [(character, -9.0) for character in map(chr, range(33, 127))]
    return XLMRobertaTokenizer(
        vocab=[*pieces, ("<mask>", 0.0)], mask_token=AddedToken("<mask>", lstrip=True, special=True)
    )
