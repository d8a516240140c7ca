"""`embed`, embedding transfer: the student learns where the teacher puts each text.

LEAF, arXiv:2509.12539; squared distance of sentence embeddings: Reimers and Gurevych, arXiv:2004.09813.
Shapes: B texts, E width of the teacher's embeddings, e of the student's pooled states.
"""

import torch.nn.functional as F
from torch import Tensor

from spaces.errors import choose
from spaces.students.architecture import StudentArchitecture, TeacherFacts
from spaces.students.axis import Axis, Scalar, text
from spaces.students.transfer import Pairing, TransferMethod
from trainables.losses.loss import Batch, Loss, Maps, Projection
from trainables.losses.regression import full
from trainables.models.signals import Signals, pooled


def cosine_distance(student_BE: Tensor, teacher_BE: Tensor) -> Tensor:
    """1 - cosine, mean over texts: half the squared distance of the directions, which is exactly 0 for equal ones."""
    ours_BE, theirs_BE = F.normalize(full(student_BE), dim=-1), F.normalize(full(teacher_BE), dim=-1)
    return (ours_BE - theirs_BE).square().sum(-1).mean() / 2


def squared_distance(student_BE: Tensor, teacher_BE: Tensor) -> Tensor:
    """Squared error, mean over width and texts; of embeddings before they are brought to length 1."""
    return (full(student_BE) - full(teacher_BE)).square().mean()


DISTANCES = {"cosine": cosine_distance, "squared": squared_distance}
KEPT, DROPPED = "kept", "dropped"


def loss(pairing: Pairing) -> Loss:
    """A distance of DISTANCES; through a learned projection where student and teacher differ in width."""
    facts, student, teacher = pairing.embedding, pairing.student, pairing.teacher
    signal = pooled(facts.pooling, facts.skipped)
    ours, theirs = (signal, student.num_layers), (signal, teacher.num_layers)
    distance = DISTANCES[pairing.config["embed_distance"]]
    projections: dict[str, Projection] = {}
    if student.hidden_size != teacher.hidden_size:
        plain = facts.width in (None, teacher.hidden_size) and len(facts.pooling) == 1
        widths = student.hidden_size * len(facts.pooling), facts.width or teacher.hidden_size * len(facts.pooling)
        projections["embedding"] = Projection(*widths, plain, pairing.config["embed_projection"] == KEPT)

    def value(signals: Signals, targets: Signals, maps: Maps, batch: Batch) -> Tensor:
        ours_Be = full(signals[ours])
        return distance(ours_Be @ maps["embedding"] if projections else ours_Be, targets[theirs])

    return Loss((ours,), (theirs,), value, projections)


def read_distance(name: str) -> str:
    """Read the name of a distance."""
    choose("embed_distance", DISTANCES, name)
    return name


def read_projection(name: str) -> str:
    """Read what becomes of the projection."""
    choose("embed_projection", dict.fromkeys((KEPT, DROPPED)), name)
    return name


def no_projection(
    value: str, choices: tuple[Scalar, ...], student: StudentArchitecture, teacher: TeacherFacts
) -> Scalar | None:
    """A student of the teacher's width has none, so that all values come to the same."""
    if student.hidden_size != teacher.architecture.hidden_size or value == choices[0]:
        return None
    return choices[0]


DISTANCE = Axis(
    "embed_distance", str, text(read_distance), "distance to the teacher's embedding: cosine or squared",
    default=lambda teacher: ("cosine",),
)  # fmt: skip
PROJECTION = Axis(
    "embed_projection", str, text(read_projection),
    "learned map of a narrower student's embedding: kept, so that it lives in the teacher's space, or dropped",
    default=lambda teacher: (DROPPED,), same_as=no_projection,
)  # fmt: skip
EMBED = TransferMethod(
    "embed", "the embedding of each text", "arXiv:2509.12539", loss, signals=("pooled",), axes=(DISTANCE, PROJECTION)
)
