"""A vocabulary learned from a corpus, for a source whose own cannot read it (an English WordPiece has few characters of
Chinese), with embeddings that start from the source's.

A piece that the source has keeps its embedding; another starts from the mean of the source's pieces that it splits
into, normalised as the source does; one that the source cannot read at all is drawn about the mean of all.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from spaces.errors import SpecError
from trainables.models.tokenizer import save_tokenizer
from trainables.models.vocabulary import with_words

PREFIX = "##"
CHARACTER_SHARE = 0.4
"""Of the vocabulary, what the commonest characters may take: Chinese and Japanese have thousands."""
SPECIAL = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")


def learn_tokenizer(source: PreTrainedTokenizerBase, texts: Iterable[str], size: int) -> PreTrainedTokenizerBase:
    """A WordPiece tokenizer of at most `size` pieces. Case is treated as the source does, accents are kept.

    Raises SpecError when the source is not WordPiece.
    """
    raw = json.loads(source.backend_tokenizer.to_str())
    if raw["model"]["type"] != "WordPiece":
        raise SpecError([f"a vocabulary can be learned for a WordPiece source, this one is {raw['model']['type']}"])
    normalizer = raw.get("normalizer") or {}
    names = {name: getattr(source, name) for name in SPECIAL}
    special = sorted(names.values(), key=source.get_vocab().__getitem__)
    cleaned = normalizers.BertNormalizer(lowercase=normalizer.get("lowercase", False), strip_accents=False)
    words = pre_tokenizers.BertPreTokenizer()
    counts = Counter(word for text in texts for word, _ in words.pre_tokenize_str(cleaned.normalize_str(text)))
    vocabulary = {piece: number for number, piece in enumerate(learn_pieces(counts, special, size))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token=names["unk_token"]))
    backend.normalizer, backend.pre_tokenizer, backend.decoder = cleaned, words, decoders.WordPiece()
    first, last = names["cls_token"], names["sep_token"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", pair=f"{first} $A {last} $B:1 {last}:1",
        special_tokens=[(each, backend.token_to_id(each)) for each in (first, last)],
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=source.model_max_length,
        model_input_names=source.model_input_names, **names,
    )  # fmt: skip


def learn_pieces(counts: Counter[str], special: Sequence[str], size: int) -> list[str]:
    """Special tokens, characters at the start of words and within, and what merges of them fill up to `size`.

    The trainer numbers characters within words at random, and pairs that are as frequent by those numbers; told them
    beforehand, it learns the same pieces from the same words every time.
    """
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    room = int(CHARACTER_SHARE * size)
    alphabet = set(sorted(characters, key=lambda character: (-characters[character], character))[:room])
    starts = sorted({word[0] for word in counts} & alphabet)
    within = sorted({character for word in counts for character in word[1:]} & alphabet)
    trained = Tokenizer(models.WordPiece(unk_token=special[0]))
    trained.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=[*special, *starts, *(PREFIX + each for each in within)],
        initial_alphabet=sorted(alphabet), limit_alphabet=len(alphabet), continuing_subword_prefix=PREFIX,
        show_progress=False,
    )  # fmt: skip
    trained.train_from_iterator((" ".join([word] * count) for word, count in sorted(counts.items())), trainer)
    found = trained.get_vocab()
    return sorted(found, key=found.__getitem__)[:size]


def split(piece: str, vocabulary: Mapping[str, int], source: Tokenizer) -> list[int]:
    """Ids of the source's pieces that a piece falls into, each the longest that fits; empty when none does."""
    if piece in vocabulary:
        return [vocabulary[piece]]
    inside, text = piece.startswith(PREFIX), piece.removeprefix(PREFIX)
    text = source.normalizer.normalize_str(text).strip() if source.normalizer is not None else text
    found: list[int] = []
    start = 0
    while start < len(text):
        head = PREFIX if inside or start else ""
        stop = next((end for end in range(len(text), start, -1) if head + text[start:end] in vocabulary), None)
        if stop is None:
            return []
        found.append(vocabulary[head + text[start:stop]])
        start = stop
    return found


def learn_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], size: int, folder: Path
) -> str:
    """Write the model over a learned vocabulary to `folder`; what became of it, for a person."""
    learned = learn_tokenizer(tokenizer, texts, size)
    vocabulary, new = tokenizer.get_vocab(), learned.get_vocab()
    rows = [split(piece, vocabulary, tokenizer.backend_tokenizer) for piece in sorted(new, key=new.__getitem__)]
    grown = with_words(model, rows, lm_head=model.get_output_embeddings() is not None)
    save_tokenizer(learned, folder)
    grown.save_pretrained(folder)
    copied, drawn = sum(piece in vocabulary for piece in new), sum(not row for row in rows)
    return (
        f"{len(new):,} pieces learned, of which the source has {copied:,}; {len(new) - copied - drawn:,} start from "
        f"the pieces they split into, {drawn:,} at random"
    )
