"""`embed`, embedding transfer: the student learns where the teacher puts each text.

LEAF, arXiv:2509.12539; squared distance of sentence embeddings: Reimers and Gurevych, arXiv:2004.09813; losses at
several truncations: Matryoshka, arXiv:2205.13147.
Shapes: B texts, E width of the teacher's embeddings, e of the student's pooled states.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from spaces.errors import choose
from spaces.students.architecture import StudentArchitecture, TeacherFacts
from spaces.students.axis import Axis, Rule, Scalar, text, whole
from spaces.students.transfer import Pairing, TransferMethod
from trainables.losses.loss import Batch, Loss, Maps, Projection
from trainables.losses.pooling import POOLING, pooled_student, pooled_teacher, pooling_of
from trainables.losses.regression import full
from trainables.models.signals import Signals


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
    ours, theirs = pooled_student(pairing), pooled_teacher(pairing)
    distance = DISTANCES[pairing.config["embed_distance"]]
    full_width = facts.width_of(teacher.hidden_size)
    same, size = student.hidden_size == teacher.hidden_size, int(pairing.config["embedding_size"])
    projections: dict[str, Projection] = {}
    if not same:
        plain = full_width == teacher.hidden_size and len(facts.pooling) == 1
        kept = size < full_width or pairing.config["embed_projection"] == KEPT
        projections["embedding"] = Projection(student.hidden_size * len(facts.pooling), full_width, plain, kept)

    def value(signals: Signals, targets: Signals, maps: Maps, batch: Batch) -> Tensor:
        ours_BE, theirs_BE = full(signals[ours]), targets[theirs]
        if projections:
            ours_BE = ours_BE @ maps["embedding"]
        if size == full_width:
            return distance(ours_BE, theirs_BE)
        return torch.stack([distance(ours_BE[:, :n], theirs_BE[:, :n]) for n in truncations(size, full_width)]).mean()

    return Loss((ours,), (theirs,), value, projections, pooling_of(pairing), size if size < full_width else None)


def truncations(size: int, whole: int) -> tuple[int, ...]:
    """A size, its doublings and the whole: what a user may cut the embeddings of one student to."""
    sizes = [size]
    while sizes[-1] * 2 < whole:
        sizes.append(sizes[-1] * 2)
    return (*sizes, whole)


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


def whole_embedding(teacher: TeacherFacts) -> int:
    """Values of the teacher's embeddings."""
    return teacher.embedding.width_of(teacher.architecture.hidden_size)


def more_than_the_teachers(value: int, student: StudentArchitecture, teacher: TeacherFacts) -> str | None:
    """Nobody teaches more values than the teacher has."""
    most = whole_embedding(teacher)
    return None if value <= most else f"embedding_size {value} is more than the {most} values of the teacher's"


DISTANCE = Axis(
    "embed_distance", str, text(read_distance), "distance to the teacher's embedding: cosine or squared",
    default=lambda teacher: ("cosine",),
)  # fmt: skip
PROJECTION = Axis(
    "embed_projection", str, text(read_projection),
    "learned map of a narrower student's embedding: kept, so that it lives in the teacher's space, or dropped",
    default=lambda teacher: (DROPPED,), same_as=no_projection,
)  # fmt: skip
SIZE = Axis(
    "embedding_size", int, whole, "values of an embedding: all that the teacher's have, or the first of them; "
    "then it learns at every doubling too, up to the whole, and a narrower student keeps its map",
    "values", default=lambda teacher: (whole_embedding(teacher),),
    rules=(Rule("an embedding has no more values than the teacher's", more_than_the_teachers),),
)  # fmt: skip
EMBED = TransferMethod(
    "embed", "the embedding of each text", "arXiv:2509.12539", loss, signals=("pooled",),
    axes=(DISTANCE, PROJECTION, SIZE, POOLING),
)  # fmt: skip
