"""Tiny teachers of all four families, their tokenizers and a corpus; every weight is drawn, no bias is left at 0."""

import string
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    DistilBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
)

from trainables.models.encoder import build_model
from trainables.models.signals import MASKED, TOKENS, State
from trainables.models.teacher import load_teacher
from trainables.text.corpus import blocks_visited, open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec
from trainables.training.targets import Needs, TargetPlan

NAMES = {
    "bert": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "roberta": {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"},
}
NAMES |= {"distilbert": NAMES["bert"], "xlm-roberta": NAMES["roberta"]}
WORDS = [a + b + c for a in "bdfgk" for b in "aeiou" for c in ("", "n", "rt")]
POSITIONS = 40


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test sees another's prepared data, or the user's."""
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))


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


def build_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """WordPiece with every ASCII character, so that nothing in ASCII is unknown."""
    names = NAMES[family]
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


def model_config(family: str, vocab_size: int, shape: tuple[int, int, int, int]):
    layers, width, heads, wide = shape
    if family == "distilbert":
        return DistilBertConfig(
            vocab_size=vocab_size, n_layers=layers, dim=width, n_heads=heads, hidden_dim=wide,
            max_position_embeddings=POSITIONS, pad_token_id=0, initializer_range=0.1,
        )  # fmt: skip
    kind = {"bert": BertConfig, "roberta": RobertaConfig, "xlm-roberta": XLMRobertaConfig}[family]
    offset = 0 if family == "bert" else 2
    return kind(
        vocab_size=vocab_size, num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads,
        intermediate_size=wide, max_position_embeddings=POSITIONS + offset, pad_token_id=0 if family == "bert" else 1,
        type_vocab_size=2 if family == "bert" else 1, initializer_range=0.1,
    )  # fmt: skip


@pytest.fixture(scope="session")
def write_teacher(tmp_path_factory):
    """family, lm_head, shape -> a folder with weights and tokenizer; a family's default teacher is written once."""
    written: dict[tuple, Path] = {}

    def write(family: str = "bert", *, lm_head: bool = True, shape=(4, 32, 4, 64)) -> Path:
        key = (family, lm_head, shape)
        if key not in written:
            tokenizer = build_tokenizer(family)
            torch.manual_seed(1)
            model = build_model(model_config(family, len(tokenizer), shape), lm_head=lm_head)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter += 0.1 * torch.randn_like(parameter)
            folder = tmp_path_factory.mktemp(family)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            written[key] = folder
        return written[key]

    return write


@pytest.fixture(scope="session")
def teachers(write_teacher):
    """As `write_teacher`, loaded once. Tests must not change what they get."""
    loaded = {}

    def load(family: str = "bert", **options):
        folder = write_teacher(family, **options)
        if folder not in loaded:
            loaded[folder] = load_teacher(str(folder))
        return loaded[folder]

    return load


@pytest.fixture(scope="session")
def teacher(teachers):
    return teachers("bert")


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory, teacher) -> Path:
    """A prepared corpus of blocks of 16 tokens."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "train.txt").write_text("\n".join(sentences(400)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STILLHOUSE_CACHE", str(folder / "cache"))
        return prepare_corpus(CorpusSpec(source=str(folder / "train.txt"), sequence_length=16), teacher.tokenizer)


@pytest.fixture
def corpus(corpus_folder):
    return open_corpus(corpus_folder)


def kept(*layers: int) -> tuple[State, ...]:
    """Whole hidden states of these layers."""
    return tuple(State(layer, TOKENS) for layer in layers)


@pytest.fixture
def plan(teacher, write_teacher, corpus_folder, corpus):
    """Everything that the methods of small_trials.py ask of the teacher, for ten steps."""
    visited = blocks_visited(len(corpus.train), 10 * 8, 0)
    return TargetPlan(
        teacher=str(write_teacher("bert")), teacher_digest=teacher.facts.digest, corpus=str(corpus_folder),
        needs=Needs(kept(0, 1, 2, 3, 4), (*kept(1, 2, 4), State(4, MASKED))), blocks=tuple(visited.tolist()),
        held_out=min(64, len(corpus.held_out)), views=1, mask_fraction=0.15, width=32, sequence_length=16, bf16=False,
    )  # fmt: skip


@pytest.fixture(scope="session")
def texts():
    return sentences
