"""UltraBERT (transformers/models/ultrabert/modeling_ultrabert.py): EuroBERT with layers of two types and another head.

Of three layers two see only a window of neighbours, and each type has rotations of its own. A student has the types of
the teacher's first layers, and its layers are copies of teacher layers of the same type.
"""

from dataclasses import replace

from torch import Tensor

from spaces.students.architecture import StudentArchitecture
from trainables.models.families.eurobert import EUROBERT
from trainables.models.families.eurobert import facts as eurobert_facts
from trainables.models.families.eurobert import fit_config as fit_heads
from trainables.models.family import Config, Model
from trainables.models.rotary import HeadCounts, RotaryFacts, types_of_depth


def facts(config: Config) -> RotaryFacts:
    """The window is a radius; the head has two maps without biases."""
    inner, tied = config.prediction_head_size, config.tie_word_embeddings
    return replace(
        eurobert_facts(config), head=HeadCounts(maps=2, inner=inner, vectors=0, words=0, tied=tied),
        layer_types=tuple(config.layer_types), window=2 * config.sliding_window + 1,
    )  # fmt: skip


def fit_config(config: Config, before: StudentArchitecture) -> None:
    """EuroBERT's, and a type for each layer."""
    fit_heads(config, before)
    config.layer_types = types_of_depth(config.layer_types, config.num_hidden_layers)


def layer_kinds(config: Config) -> tuple[str, ...]:
    """The types."""
    return tuple(config.layer_types)


def head_words(model: Model, hidden_ND: Tensor) -> Tensor:
    """Two maps, each followed by the activation."""
    head = model.head
    return head.act_fn(head.linear2(head.act_fn(head.linear1(hidden_ND))))


ULTRABERT = replace(
    EUROBERT, facts=facts, fit_config=fit_config, layer_kinds=layer_kinds, head_marker="head.linear1.weight",
    head_words=head_words,
)  # fmt: skip
