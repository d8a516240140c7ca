"""The axes that every trial has, and all axes there are: these, and those of the transfer methods.

Texts are brought to one spelling by the axes ("0.5hs+od" is "od + 0.5 hs"), so that equal configurations are equal
everywhere after.
"""

from functools import cache

from spaces.errors import StillhouseError, choose
from spaces.space.starts import PAYING_STARTS, STARTS, same_start, unfit_start
from spaces.students.architecture import StudentArchitecture, TeacherFacts, canonical_shape
from spaces.students.axis import Axis, Rule, positive, text, whole
from spaces.students.stages import axes_of, canonical_method, terms_of
from spaces.students.transfer import METHODS


def read_start(name: str) -> str:
    """Read the name of an initialisation."""
    choose("initialisation", STARTS, name)
    return name


def without_lm_head(method: str, student: StudentArchitecture, teacher: TeacherFacts) -> str | None:
    """Some methods read the teacher's logits, and some make a head of the student's own."""
    own = teacher.as_family(student.family)
    if not own.masked_lm:
        lacking = [repr(term.name) for term in terms_of(method) if term.student_lm_head]
        others = ", ".join(name for name, known in METHODS.items() if not known.student_lm_head)
        if not lacking:
            return None
        return (
            f"{', '.join(lacking)} needs a masked-LM head, which no model of type {own.family.name} has; methods "
            f"that need none: {others}"
        )
    lacking = [repr(term.name) for term in terms_of(method) if term.needs_lm_head]
    if teacher.has_lm_head or not lacking:
        return None
    others = ", ".join(name for name, known in METHODS.items() if not known.needs_lm_head)
    return (
        f"{', '.join(lacking)} needs a trained masked-LM head, which teacher {teacher.name!r} does not have; "
        f"methods that need none: {others}"
    )


def unlike_scorers(method: str, student: StudentArchitecture, teacher: TeacherFacts) -> str | None:
    """Students have the head of their teacher: one that scores pairs, or none."""
    if problem := no_classifier(method, student, teacher):
        return problem
    if teacher.scores_pairs:
        lacking = [repr(term.name) for term in terms_of(method) if term.student_lm_head]
        others = ", ".join(name for name, known in METHODS.items() if not known.student_lm_head)
        rule = f"makes a masked-LM head, and students of {teacher.name!r} have one that scores pairs"
        return f"{', '.join(lacking)} {rule}; methods that make none: {others}" if lacking else None
    lacking = [repr(term.name) for term in terms_of(method) if term.scores_pairs]
    head = f"its head has {teacher.labels} labels" if teacher.labels else "it has no such head"
    rule = "needs a teacher that scores pairs, a sequence classifier with one label (num_labels = 1)"
    return f"{', '.join(lacking)} {rule}; of {teacher.name!r} {head}" if lacking else None


def no_classifier(method: str, student: StudentArchitecture, teacher: TeacherFacts) -> str | None:
    """Some methods read the classes of a text; a masked-LM head and one of another family leave no place for them."""
    asked = [repr(term.name) for term in terms_of(method) if term.classifies]
    if not asked:
        return None
    if not teacher.classifies:
        head = f"its head has {teacher.labels} label" if teacher.labels else "it has no such head"
        rule = "needs a teacher that classifies texts, a sequence classifier with several labels (num_labels > 1)"
        return f"{', '.join(asked)} {rule}; of {teacher.name!r} {head}"
    if lm_heads := [repr(term.name) for term in terms_of(method) if term.student_lm_head]:
        return f"{', '.join(lm_heads)} makes a masked-LM head, and {', '.join(asked)} needs one over classes: part them"
    if student.family not in (None, teacher.family.name):
        return f"{', '.join(asked)} needs the teacher's head over classes, which students of {student.family} lack"
    return None


METHOD = Axis(
    "method", str, text(canonical_method),
    "transfer method, a weighted sum of methods, or stages",
    rules=(Rule("output-distribution transfer needs a teacher with a masked-LM head", without_lm_head),
           Rule("score transfer needs a teacher that scores pairs", unlike_scorers)),
)  # fmt: skip
SHAPE = Axis("shape", str, text(canonical_shape), "shape of the student, such as 4x256 or, with its heads, 4x256h8")
SIZES = (
    Axis("num_layers", int, whole, "Transformer layers of the student", "layers"),
    Axis("hidden_size", int, whole, "width of the student", "units"),
    Axis("num_heads", int, whole, "attention heads of the student", "heads"),
    Axis(
        "ffn_ratio", float, positive, "feed-forward width of the student over its width", default=lambda teacher: (4.0,)
    ),
)
"""They spell the shape where `shape` does not; heads may stand beside it."""
FAMILY = Axis(
    "family", str, text(str.strip), "family of the student, `model_type` in its config; left out: the teacher's"
)
COMMON = (
    Axis(
        "initialisation", str, text(read_start), "how the student's weights started",
        default=lambda teacher: PAYING_STARTS, same_as=same_start,
        rules=(Rule("an initialisation must find its weights in the teacher", unfit_start),),
    ),
    Axis(
        "learning_rate", float, positive, "peak learning rate",
        default=lambda teacher: {"low": 3e-4, "high": 3e-3, "log": True}, may_be_range=True,
    ),
    Axis("batch_size", int, whole, "sequences per optimiser step", "sequences", default=lambda teacher: (16,)),
)  # fmt: skip
SIZE_AXES = tuple(axis.name for axis in SIZES)
SHAPE_AXES = (*SIZE_AXES, FAMILY.name)
"""What says beside `shape`, or in its place, what a student is built as."""


@cache
def all_axes() -> dict[str, Axis]:
    """Every axis by name. Raises StillhouseError where two methods mean different things by one name."""
    found = {axis.name: axis for axis in (METHOD, SHAPE, *SIZES, FAMILY)}
    owners = dict.fromkeys([*found, *(axis.name for axis in COMMON)], "every trial")
    for name, method in METHODS.items():
        for axis in method.axes:
            if found.setdefault(axis.name, axis) != axis or owners.get(axis.name) == "every trial":
                raise StillhouseError(
                    f"method {name!r} has an axis {axis.name!r} of its own, but {owners[axis.name]} has another "
                    "of that name; choose another name"
                )
            owners.setdefault(axis.name, f"method {name!r}")
    return found | {axis.name: axis for axis in COMMON}


@cache
def axes_of_trial(method: str) -> tuple[str, ...]:
    """The names of the axes that a trial of this method has besides method and shape: the method's, the common ones."""
    return tuple(axis.name for axis in (*axes_of(method), *COMMON))
