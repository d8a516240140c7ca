"""What a transfer method makes of one trial: the signals it reads of both models, its learned projections, its loss.

Every loss is a mean per valid position, so that its scale does not move with batch, length or heads, and every
divergence is exactly 0 where the student equals the teacher. Padding may be on either side. Divergences are in nats.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from trainables.models.signals import LayerSignal, Signals


@dataclass(frozen=True)
class Batch:
    """What besides the signals a loss may look at: the mask BT (None when no position is padding), the words before
    masking at the masked positions N, the mean square of the teacher's hidden states by layer, where these grow
    from layer to layer (empty where norms keep them alike), and the class of each text B, as an output of the head."""

    mask_BT: Tensor | None = None
    labels_N: Tensor | None = None
    squares: Mapping[int, float] = field(default_factory=dict)
    classes_B: Tensor | None = None


@dataclass(frozen=True)
class Projection:
    """A learned map from the student's width to the teacher's, thrown away after training unless it is kept.

    of_states: both ends are hidden states, so that it may start in the basis in which students are projected.
    kept: the student that is scored and handed over embeds through it.
    """

    student_width: int
    teacher_width: int
    of_states: bool = False
    kept: bool = False


Maps = Mapping[str, Tensor]
"""The learned projections by name, student width x teacher width."""


@dataclass(frozen=True)
class Loss:
    """The loss of a method for one trial.

    student, teacher: the signals that it reads of each; `value` sees these and no others.
    value: (student's signals, teacher's signals, projections, batch) -> scalar.
    """

    student: tuple[LayerSignal, ...]
    teacher: tuple[LayerSignal, ...]
    value: Callable[[Signals, Signals, Maps, Batch], Tensor]
    projections: Mapping[str, Projection] = field(default_factory=dict)
    pooling: tuple[str, ...] | None = None
    """How the student that is scored and handed over pools; None: as the teacher."""
    size: int | None = None
    """How many values of its embeddings the student that is scored and handed over keeps, the first; None: all."""
