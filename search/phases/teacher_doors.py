"""What is opened, and told, of a teacher: its weights and tokenizer by `check`, its masked-LM head before a search."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.spec.reading import Unsound
from spaces.errors import SpecError, StillhouseError
from spaces.space.search_space import SearchSpace
from spaces.space.table import read_table
from spaces.students.architecture import TeacherFacts
from spaces.students.stages import terms_of
from spaces.telling import Say
from trainables.cache import cache_folder, digest
from trainables.copies import cached_value
from trainables.models.classes import listed
from trainables.models.embedding import embedder_of, embedding_line
from trainables.models.embedding_spec import EmbeddingSpec
from trainables.models.encoder import classes_of
from trainables.models.layer_removal import removal_order
from trainables.models.loading import load_model
from trainables.models.sentence_folders import lowers_case
from trainables.models.teacher import Teacher, load_teacher, resolve_model_folder
from trainables.models.tokenizer import load_tokenizer, read_otherwise
from trainables.text.corpus import Corpus
from trainables.text.corpus_files import corpus_files
from trainables.text.file_texts import file_texts
from trainables.training.masked_lm import CHECKED_BLOCKS, MaskedAccuracy, masked_accuracy

SAMPLE_TEXTS = 50
"""The first of a corpus, on which two readings of a tokenizer are compared."""


def look_at_teacher(draft: Any, facts: TeacherFacts | None, problems: list[str], lines: list[str]) -> Teacher | None:
    """Load the teacher as a run would; what is worth telling goes to `lines`.

    A teacher that has no facts was refused before.
    """
    if facts is None:
        return None
    try:
        embedding = EmbeddingSpec(draft.embedding.pooling, draft.embedding.prompt)
        found = load_teacher(draft.teacher.path, embedding, draft.student.tokenizer)
        lines += [embedding_line(embedder_of(found.model)), *class_lines(found)]
        lines += tokenizer_lines(draft.teacher.path, found, texts_of(draft))
        lines += student_lines(draft, found)
        problems += mask_problems(draft.space, found)
    except Unsound:
        return None
    except SpecError as error:
        problems += [problem for problem in error.problems if problem not in problems]
        return None
    return found


def look_at_start(draft: Any, problems: list[str]) -> None:
    """Load the weights that the study starts from."""
    try:
        if draft.training.start is not None:
            load_model(Path(draft.training.start))
    except Unsound:
        pass
    except SpecError as error:
        problems += [f"[training] start {draft.training.start!r}: {problem}" for problem in error.problems]


def mask_problems(space: Mapping[str, Any], teacher: Teacher) -> list[str]:
    """A method that masks words needs a token for them."""
    methods = read_table(space)[0].get("method")
    if teacher.tokenizer.mask_token_id is not None or methods is None:
        return []
    masking = [name for name in map(str, methods.choices) if any(term.masked_inputs for term in terms_of(name))]
    return [
        f"[space] method {name!r} masks words, and the teacher's tokenizer has no mask token: leave it out, or name it "
        'in tokenizer_config.json ("mask_token")'
        for name in masking
    ]


def texts_of(draft: Any) -> list[str]:
    """The first texts of a corpus of files; none where it is something else, or for its own door to refuse."""
    try:
        source, column = draft.corpus.source, draft.corpus.text_column
        if source == "docs" or source.startswith("hub:"):
            return []
        return list(itertools.islice(file_texts(corpus_files(source)["train"][0], column), SAMPLE_TEXTS))
    except (Unsound, StillhouseError, IndexError):
        return []


def tokenizer_lines(path: str, teacher: Teacher, texts: Sequence[str]) -> list[str]:
    """What transformers cuts in another way than the teacher's tokenizer.json says."""
    folder, facts, tokenizer = resolve_model_folder(path), teacher.facts, teacher.tokenizer
    if lowers_case(folder):  # which is done before what tokenizer.json says
        tokenizer = load_tokenizer(folder, facts.vocab_size, facts.max_positions)
    found = read_otherwise(tokenizer, folder, list(texts))
    return [f"warning: {found}"] if found else []


def student_lines(spec: Any, teacher: Teacher) -> list[str]:
    """What becomes of the teacher's words where students have a tokenizer of their own."""
    if spec.student.tokenizer is None:
        return []
    if teacher.reworded is None:
        return [f"[student] tokenizer {spec.student.tokenizer!r} is the teacher's: nothing changes"]
    return [f"words of students: {teacher.reworded.about_words}"]


def class_lines(teacher: Teacher) -> list[str]:
    """What a teacher that classifies texts tells apart."""
    classes = classes_of(teacher.model)
    if not classes:
        return []
    return [f"classifies texts as one of {len(classes)}: {listed(classes)}; students have its head"]


def head_lines(space: SearchSpace, teacher: Teacher, corpus: Corpus) -> list[str]:
    """How often the teacher's masked-LM head is right on held-out text, where a method reads it.

    Weights under the names of a head may be anything: that it is there does not say that it was trained.
    """
    methods = map(str, space.axes["method"].choices)
    readers = sorted({term.name for method in methods for term in terms_of(method) if term.needs_lm_head})
    if not readers or not teacher.facts.has_lm_head or corpus.mask_token_id is None:
        return []
    folder = cache_folder() / "heads" / digest(1, teacher.facts.digest, corpus.digest, CHECKED_BLOCKS)
    value = cached_value(folder, lambda: asdict(masked_accuracy(teacher.model, corpus, CHECKED_BLOCKS)))
    found = MaskedAccuracy(**value)
    shares = f"{found.right:.1%} of masked held-out tokens right, the commonest token alone {found.commonest:.1%}"
    if not found.looks_untrained:
        return [f"masked-LM head of the teacher: {shares}"]
    return [
        f"warning: masked-LM head of the teacher: {shares}; it looks untrained on this text, and "
        f"{', '.join(readers)} learns from nothing else"
    ]


def removal_lines(space: SearchSpace, teacher: Teacher, corpus: Corpus, say: Say) -> list[str]:
    """Which layers the teacher can best be without, where a start asks for it: found here, before lanes need it."""
    if "pruned_layers" not in space.axes["initialisation"].choices:
        return []
    order = ", ".join(map(str, removal_order(teacher, corpus, say)))
    return [f"teacher: the layers that it misses least, in this order: {order}"]
