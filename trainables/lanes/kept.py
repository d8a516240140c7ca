"""What a process keeps from one trial for the next: the teacher, and what is mapped from the disk."""

from functools import lru_cache

from trainables.copies import at_hand, place_of
from trainables.models.embedding_spec import EmbeddingSpec
from trainables.models.teacher import Teacher, load_teacher
from trainables.tasks.scoring import TaskData, load_task
from trainables.text.corpus import Corpus, open_corpus
from trainables.training.targets import Targets


@lru_cache(maxsize=1)
def kept_teacher(path: str, embedding: EmbeddingSpec, device: str, tokenizer: str | None = None) -> Teacher:
    """The teacher of the last trial in this process is nearly always the teacher of the next.

    tokenizer: of its students, where they have one of their own.
    """
    teacher = load_teacher(path, embedding, tokenizer)
    for each in (teacher, teacher.source):
        each.model.to(device)  # type: ignore[arg-type]
    return teacher


@lru_cache(maxsize=1)
def kept_corpus(folder: str) -> Corpus:
    """Mapped once per process."""
    return open_corpus(at_hand(folder))


@lru_cache(maxsize=1)
def kept_targets(folder: str) -> Targets | None:
    """Mapped once per process."""
    return Targets(place_of(folder)) if folder else None


@lru_cache(maxsize=32)
def kept_task(folder: str) -> TaskData:
    """Mapped once per process."""
    return load_task(at_hand(folder))
