"""Every door that a run goes through, opened before anything starts: by `check`, and by `run` before its first step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from search.phases.data_doors import look_at
from search.phases.latency_doors import look_at_latency
from search.phases.teacher_doors import look_at_start, look_at_teacher
from search.proposals.warm_start import refuse_incomparable
from search.spec.changes import changed
from search.spec.checks import Study, check_all, load_table
from search.spec.reading import Unsound
from search.tune.environment import refuse_machine
from spaces.errors import SpecError
from spaces.records.data import DataFacts
from spaces.students.architecture import TeacherFacts
from trainables.models.embedding import embedder_of
from trainables.models.loading import quiet_transformers
from trainables.models.teacher import read_facts, resolve_model_folder
from trainables.models.tokenizer import load_tokenizer


@dataclass(frozen=True)
class Seen:
    """What is behind the doors of a spec."""

    study: Study
    data: DataFacts
    lines: tuple[str, ...]
    """What is worth telling of the teacher and of this machine."""


def open_doors(path: str, changes: Sequence[str] = (), address: str | None = None) -> Seen:
    """The study of a spec, and what was seen of it. Raises SpecError with everything that would stop a run.

    changes: KEY=VALUE over those of the file. address: of the cluster that is to run it.
    """
    table, folder = load_table(path)
    data: list[DataFacts] = []
    lines: list[str] = []

    def look(draft: Any, facts: TeacherFacts | None, problems: list[str]) -> None:
        try:
            refuse_machine(address)
        except SpecError as error:
            problems += error.problems
        teacher = look_at_teacher(draft, facts, problems, lines)
        tokenizer = own_tokenizer(draft, facts) if teacher is None else teacher.source.tokenizer
        embedder = None if teacher is None else embedder_of(teacher.source.model)
        data.append(look_at(draft, tokenizer, embedder, problems))
        look_at_start(draft, problems)
        look_at_latency(draft, problems, lines)

    with quiet_transformers():
        study = check_all(changed(table, changes), folder, path, read_facts, look)
        refuse_incomparable(study.spec, None)
    return Seen(study, data[0], tuple(lines))


def own_tokenizer(draft: Any, facts: TeacherFacts | None) -> PreTrainedTokenizerBase | None:
    """That of a teacher that cannot be loaded, if there is one; what is wrong with it was said."""
    try:
        if facts is None:
            return None
        return load_tokenizer(resolve_model_folder(draft.teacher.path), facts.vocab_size, facts.max_positions)
    except (Unsound, SpecError):
        return None
