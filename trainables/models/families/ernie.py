"""ERNIE (transformers/models/ernie/modeling_ernie.py): BERT, with a table of task types if the config asks for it."""

from dataclasses import dataclass, replace

from spaces.students.architecture import TeacherFacts
from trainables.models.families.bert import BERT, BertFacts
from trainables.models.families.bert import embeddings as bert_embeddings
from trainables.models.family import Config, EmbeddingParts, Model


@dataclass(frozen=True)
class ErnieFacts(BertFacts):
    """Counts of BERT and of the task types."""

    task_types: int = 0

    def rows(self, teacher: TeacherFacts) -> int:
        """BERT's, and one for each task type."""
        return super().rows(teacher) + self.task_types


def facts(config: Config) -> ErnieFacts:
    """Positions are counted from row 0."""
    return ErnieFacts(config.model_type, task_types=config.task_type_vocab_size if config.use_task_id else 0)


def embeddings(encoder: Model) -> EmbeddingParts:
    """Words, positions, types and task types."""
    own = encoder.embeddings
    return replace(bert_embeddings(encoder), tasks=own.task_type_embeddings if own.use_task_id else None)


ERNIE = replace(BERT, facts=facts, embeddings=embeddings)
