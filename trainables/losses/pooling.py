"""How a student pools its last states into the embedding of a text: as the teacher does, or in a way of its own.

What it learns by is what it is scored and handed over with, so the methods that read embeddings share this axis.
"""

from spaces.errors import choose
from spaces.students.architecture import StudentArchitecture, TeacherFacts
from spaces.students.axis import Axis, Rule, Scalar, text
from spaces.students.transfer import Pairing
from trainables.models.embedding_spec import POOLING_NAMES
from trainables.models.signals import LayerSignal, pooled

AS_TEACHER = "teacher"


def pooling_of(pairing: Pairing) -> tuple[str, ...]:
    """The poolings of a trial's student, side by side."""
    named = str(pairing.config[POOLING.name])
    return pairing.embedding.pooling if named == AS_TEACHER else (named,)


def pooled_student(pairing: Pairing) -> LayerSignal:
    """What is read of a trial's student: the pooled states of its last layer."""
    skipped = pairing.embedding.skipped if pairing.student_skipped is None else pairing.student_skipped
    return pooled(pooling_of(pairing), skipped), pairing.student.num_layers


def pooled_teacher(pairing: Pairing) -> LayerSignal:
    """The same of the teacher."""
    return pooled(pairing.embedding.pooling, pairing.embedding.skipped), pairing.teacher.num_layers


def read_pooling(name: str) -> str:
    """Read the name of a pooling."""
    choose(POOLING.name, dict.fromkeys((AS_TEACHER, *POOLING_NAMES)), name)
    return name


def the_teachers(
    value: str, choices: tuple[Scalar, ...], student: StudentArchitecture, teacher: TeacherFacts
) -> Scalar | None:
    """The name of the teacher's pooling, beside `teacher`, says the same again."""
    return AS_TEACHER if (value,) == teacher.embedding.pooling and AS_TEACHER in choices else None


def another_width(value: str, student: StudentArchitecture, teacher: TeacherFacts) -> str | None:
    """Poolings side by side make wider embeddings than one of them."""
    own = teacher.embedding.pooling
    if value == AS_TEACHER or len(own) == 1:
        return None
    return f"the teacher pools {' and '.join(own)} side by side, and so must its students: {value!r} is narrower"


POOLING = Axis(
    "student_pooling", str, text(read_pooling),
    f"how a student pools its last states: teacher, as the teacher does, or one of {', '.join(POOLING_NAMES)}",
    default=lambda teacher: (AS_TEACHER,), same_as=the_teachers,
    rules=(Rule("a student's poolings are as many as the teacher's", another_width),),
)  # fmt: skip
