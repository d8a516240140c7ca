"""Tiny teachers of all families, their tokenizers and a corpus; every weight is drawn, no bias is left at 0."""

import json
from pathlib import Path

import pytest
import torch
from tiny_families import MARKS, TINY
from tiny_tokenizers import sentences

from trainables.models.encoder import build_model
from trainables.models.families import FAMILIES
from trainables.models.signals import MASKED, TOKENS, State
from trainables.models.teacher import load_teacher
from trainables.models.tokenizer import save_tokenizer
from trainables.text.corpus import blocks_visited, open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec
from trainables.training.targets import Needs, TargetPlan


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test sees another's prepared data, or the user's."""
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def write_teacher(tmp_path_factory):
    """family, lm_head, shape, labels -> a folder with weights and tokenizer; each is written once.

    labels: those of a sequence classifier; 0 for a teacher that is none.
    """
    written: dict[tuple, Path] = {}

    def write(family: str = "bert", *, lm_head: bool = True, shape=(4, 32, 4, 64), labels: int = 0) -> Path:
        key = (family, lm_head, shape, labels)
        if key not in written:
            tokenizer = TINY[family].tokenizer()
            config = TINY[family].config(len(tokenizer), shape)
            config.num_labels = labels or config.num_labels
            torch.manual_seed(1)
            with_head = lm_head and FAMILIES[family].head_marker is not None
            model = build_model(config, lm_head=with_head, scoring=labels > 0)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter += 0.1 * torch.randn_like(parameter)
            folder = tmp_path_factory.mktemp(family)
            model.save_pretrained(folder)
            save_tokenizer(tokenizer, folder)
            if labels and family in MARKS:  # which a tokenizer without a family leaves out
                about = json.loads((folder / "tokenizer_config.json").read_text())
                about["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
                (folder / "tokenizer_config.json").write_text(json.dumps(about))
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


@pytest.fixture(scope="session")
def own_corpus(tmp_path_factory):
    """teacher -> the folder of a corpus of its own tokens, in blocks of 16; each is prepared once."""
    source = tmp_path_factory.mktemp("texts") / "train.txt"
    source.write_text("\n".join(sentences(200)))
    prepared: dict[str, Path] = {}

    def folder_of(teacher) -> Path:
        if teacher.facts.digest not in prepared:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("STILLHOUSE_CACHE", str(source.parent / "cache"))
                prepared[teacher.facts.digest] = prepare_corpus(CorpusSpec(str(source), 16), teacher.tokenizer)
        return prepared[teacher.facts.digest]

    return folder_of


def kept(*layers: int) -> tuple[State, ...]:
    """Whole hidden states of these layers."""
    return tuple(State(layer, TOKENS) for layer in layers)


@pytest.fixture
def plan(teacher, write_teacher, corpus_folder, corpus):
    """Everything that the methods of small_trials.py ask of the teacher, for ten steps."""
    visited = blocks_visited(corpus, 10 * 8, 0)
    return TargetPlan(
        teacher=str(write_teacher("bert")), teacher_digest=teacher.facts.digest, corpus=str(corpus_folder),
        needs=Needs(kept(0, 1, 2, 3, 4), (*kept(1, 2, 4), State(4, MASKED))), blocks=tuple(visited.tolist()),
        held_out=min(64, len(corpus.held_out)), views=1, mask_fraction=0.15, width=32, sequence_length=16, bf16=False,
    )  # fmt: skip


@pytest.fixture(scope="session")
def texts():
    return sentences
