"""Where a student's weights may start: by name, what each takes from the teacher, and what that asks of a shape."""

from collections.abc import Mapping
from dataclasses import dataclass

from spaces.students.architecture import StudentArchitecture, TeacherFacts
from spaces.students.axis import Scalar


@dataclass(frozen=True)
class Start:
    """What must equal the teacher's for this start, and what must not exceed it: fields of StudentArchitecture."""

    meaning: str
    equal: tuple[str, ...] = ()
    at_most: tuple[str, ...] = ()
    keeps: str = ""
    """Which layers of the teacher the student's are copies of, as the tables say; empty: its layers are random."""


STARTS: Mapping[str, Start] = {
    "random": Start("everything random"),
    "projected": Start(
        "teacher embeddings in the main directions of its hidden states, layers random", at_most=("hidden_size",)
    ),
    "teacher_layers": Start(
        "teacher embeddings and evenly spaced teacher layers copied, at the teacher's widths",
        equal=("hidden_size", "intermediate_size"),
        at_most=("num_layers",),
        keeps="uniform",
    ),
    "projected_layers": Start(
        "evenly spaced teacher layers as well, written in those directions",
        at_most=("hidden_size", "num_layers"),
        keeps="uniform",
    ),
    "first_layers": Start(
        "the teacher's first layers instead; what a narrower one lacks is made up for by least squares",
        at_most=("hidden_size", "num_layers"),
        keeps="first",
    ),
    "pruned_layers": Start(
        "the layers that are left when those that can best be missed are removed, one after the other",
        at_most=("hidden_size", "num_layers"),
        keeps="removal",
    ),
}

LAYERS_OF_STARTS = {name: start.keeps for name, start in STARTS.items() if start.keeps}
"""What the starts that copy layers keep of the teacher's. At equal width the first two of them are the same."""

PAYING_STARTS = tuple(name for name in STARTS if name != "random")
"""What is tried unless the spec says otherwise: from random weights a small budget gives next to nothing
(docs/results/comparison.md)."""

MOST_STARTS = 40
"""Students that are scored before any is trained, some seconds each."""

SAME_STARTS = ("teacher_layers", "projected_layers", "first_layers", "pruned_layers")
"""Starts that may come to the same student; an earlier one stands for the later."""


def unfit_start(start: str, student: StudentArchitecture, teacher: TeacherFacts) -> str | None:
    """What is taken from the teacher must be as large there, and equal where it is copied whole."""
    known = teacher.architecture
    if student.family and STARTS[start].keeps:
        others = " or ".join(repr(name) for name, each in STARTS.items() if not each.keeps)
        return (
            f"initialisation {start!r} copies layers, which a {student.family} student cannot take from "
            f"{teacher.family.name}; {others} fits a student of another family"
        )
    limits = {
        "hidden_size": known.hidden_size,
        "intermediate_size": known.intermediate_size,
        "num_layers": known.num_layers,
    }
    equal, at_most = STARTS[start].equal, STARTS[start].at_most
    broken = [field for field in equal if getattr(student, field) != limits[field]]
    broken += [field for field in at_most if getattr(student, field) > limits[field]]
    if not broken:
        return None
    needs = [f"{field} equal to the teacher's {limits[field]}" for field in equal if field in broken]
    needs += [f"{field} of at most the teacher's {limits[field]}" for field in at_most if field in broken]
    got = ", ".join(str(getattr(student, field)) for field in broken)
    return f"initialisation {start!r} needs {' and '.join(needs)}, got {got}; 'random' fits every shape"


def same_start(
    start: str, choices: tuple[Scalar, ...], student: StudentArchitecture, teacher: TeacherFacts
) -> str | None:
    """At the teacher's widths cutting its layers is copying them; at its depth all starts keep all of its layers."""
    as_deep = student.num_layers == teacher.architecture.num_layers
    if start not in SAME_STARTS or (start in ("first_layers", "pruned_layers") and not as_deep):
        return None
    earlier = (known for known in SAME_STARTS[: SAME_STARTS.index(start)] if known in choices)
    return next((known for known in earlier if unfit_start(known, student, teacher) is None), None)
