"""A student of another family than its teacher: its config, and what sizes and costs are counted by.

It reads what the teacher reads: the same tokens, as many positions, the same id for padding. What its config says
beside that and the shape are the defaults of transformers for its family.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

from transformers import AutoConfig, PretrainedConfig

from spaces.errors import SpecError, choose
from spaces.students.architecture import TeacherFacts
from trainables.models.encoder import family_of, usable_positions
from trainables.models.families import FAMILIES
from trainables.models.family import ReadFacts

TOKENS = ("pad", "bos", "eos", "cls", "sep", "mask")
"""The special tokens that configs name."""


def reads_of(config: PretrainedConfig) -> ReadFacts:
    """What a teacher with this config reads."""
    found = ((f"{token}_token_id", getattr(config, f"{token}_token_id", None)) for token in TOKENS)
    ids = ((name, each[0] if isinstance(each, list) else each) for name, each in found)  # decoders may end in several
    types = config.type_vocab_size if family_of(config).has_types else 0
    return ReadFacts(config.vocab_size, usable_positions(config), types, tuple(ids))


def config_for(read: ReadFacts, name: str) -> PretrainedConfig:
    """A config of a family for such tokens and positions, in whatever shape it is published.

    Raises SpecError for a family that is not known, or that cannot read them.
    """
    family = choose("model family", FAMILIES, name)
    if family.for_reading is None:
        able = ", ".join(each for each in FAMILIES if FAMILIES[each].for_reading is not None)
        raise SpecError([f"a student of {name} is made of teachers of {name} alone. Of any teacher: {able}"])
    try:
        own = family.for_reading(read)
    except SpecError as error:
        raise SpecError(
            [f"no student of {name} can be made of this teacher: {each}" for each in error.problems]
        ) from error
    return AutoConfig.for_model(name, vocab_size=read.vocab_size, **dict(read.token_ids), **own)


@dataclass(frozen=True)
class OtherFamilies:
    """spaces.students.architecture.OtherFamilies of a teacher."""

    read: ReadFacts

    def view(self, teacher: TeacherFacts, name: str) -> TeacherFacts:
        """The teacher with the facts of another family. Raises SpecError as `config_for` does."""
        return as_if_of(replace(teacher, others=None), self.read, name)


@lru_cache(maxsize=64)
def as_if_of(teacher: TeacherFacts, read: ReadFacts, name: str) -> TeacherFacts:
    """Kept, for a space asks for it again and again."""
    config = config_for(read, name)
    family = family_of(config)
    return replace(
        teacher,
        family=family.facts(config),
        type_vocab_size=config.type_vocab_size if family.has_types else 0,
        masked_lm=family.head_marker is not None,
    )
