"""The conditional search space: what a study may try, drawn so that infeasible configurations never come up.

A configuration is a method, a shape, the axes of that method, and the common axes. Every rule (feasibility.py) looks at
one axis and the shape, so a space is a table of feasible (method, shape) pairs with the legal values of each axis, and
a draw restricts each axis to those values. Optuna forbids changing the choices of a name, so a restricted axis is drawn
under a name that spells its choices, such as "relation_heads@12,24": branches with the same legal values share it.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from spaces.errors import InfeasibleConfig, SpecError, nearest
from spaces.space.axes import FAMILY, SHAPE_AXES, all_axes, axes_of_trial
from spaces.space.feasibility import Objection, objections, same_outcome
from spaces.space.table import Values
from spaces.students.architecture import SHAPE_KEYS, StudentArchitecture, TeacherFacts, architecture_of, parse_shape
from spaces.students.axis import Axis, Scalar, whole
from spaces.students.stages import axes_of
from spaces.students.transfer import UNTRAINED

HEADS_RULE = "attention heads divide the student's width"
FAMILY_RULE = "the student's family can build its shape"


class Chooser(Protocol):
    """Who chooses the values of a configuration: a trial of Optuna, or what answers in its place."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """A number of the range."""


def config_hash(config: Mapping[str, Any], seed: int) -> str:
    """16 hex digits that name a trial: equal for equal configurations and seeds, whatever the order of keys."""
    return digest_of({"config": canonical_config(config), "seed": int(seed)})


def canonical_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with known values in their one spelling (temperature 2 is 2.0); other keys stay as they are."""
    readers = {name: axis.read for name, axis in all_axes().items()} | {"intermediate_size": whole}
    return {
        key: readers[key](value) if key in readers and value != UNTRAINED else value for key, value in config.items()
    }


def digest_of(payload: Any) -> str:
    """16 hex digits of a JSON value, independent of key order."""
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def draw(trial: Chooser, values: Values, legal: tuple[Scalar, ...]) -> Scalar:
    """Draw one of the legal values of an axis, under a name whose choices are the same for ever."""
    if values.is_range:
        return trial.suggest_float(values.name, values.low, values.high, log=values.log)
    name = values.name if legal == values.choices else f"{values.name}@{','.join(map(str, legal))}"
    choice: Scalar = trial.suggest_categorical(name, list(legal))
    return choice


def assemble(method: str, student: StudentArchitecture, drawn: Mapping[str, Any]) -> dict[str, Any]:
    """The flat configuration of a trial; its family stands in it where it is not the teacher's."""
    own = {FAMILY.name: student.family} if student.family else {}
    return {"method": method, **{key: getattr(student, key) for key in SHAPE_KEYS}, **own, **drawn}


@dataclass(frozen=True)
class SearchSpace:
    """The axes of a study, resolved, and the teacher whose students they describe."""

    axes: Mapping[str, Values]
    teacher: TeacherFacts

    @cached_property
    def shapes(self) -> dict[StudentArchitecture, dict[str, Scalar]]:
        """Every shape the axes spell, buildable or not, with the values of the shape axes that spell it."""
        head_size = self.teacher.architecture.head_size
        names = [name for name in ("shape", *SHAPE_AXES) if name in self.axes]
        shapes: dict[StudentArchitecture, dict[str, Scalar]] = {}
        for values in itertools.product(*(self.axes[name].choices for name in names)):
            chosen = dict(zip(names, values, strict=True))
            if "shape" in chosen:
                student = parse_shape(str(chosen["shape"]), head_size)
            else:
                student = parse_shape(f"{chosen['num_layers']}x{chosen['hidden_size']}", head_size)
                wide = max(1, round(float(chosen["ffn_ratio"]) * student.hidden_size))
                student = replace(student, intermediate_size=wide)
            family = chosen.get(FAMILY.name, self.teacher.family.name)
            student = replace(
                student,
                num_heads=int(chosen.get("num_heads", student.num_heads)),
                family=None if family == self.teacher.family.name else str(family),
            )
            shapes.setdefault(student, chosen)
        return shapes

    def holds(self, config: Mapping[str, Any]) -> bool:
        """Whether method and shape of a configuration are of this space."""
        return config["method"] in self.axes["method"].choices and architecture_of(config) in self.shapes

    def values_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The value of every axis that a configuration of this space has; shape and ffn_ratio among them."""
        return {**config, **self.shapes[architecture_of(config)]}

    def starts(self) -> tuple[dict[str, Any], ...]:
        """Every student that training may start from, as the configuration of one that is left untrained.

        Random weights are left out: they are the floor.
        """
        found = []
        for student in dict.fromkeys(student for students in self.feasible.values() for student in students):
            for start in self.legal("initialisation", student):
                if start != "random":
                    found.append(assemble(UNTRAINED, student, {"initialisation": start}))
        return tuple(found)

    @cached_property
    def own_axes(self) -> tuple[Axis, ...]:
        """The axes that not every space has, each once: those of its methods, and the family."""
        own = (FAMILY,) if FAMILY.name in self.axes else ()
        of_methods = (axis for method in self.axes["method"].choices for axis in axes_of(str(method)))
        return tuple(dict.fromkeys((*own, *of_methods)))

    @cached_property
    def feasible(self) -> dict[str, tuple[StudentArchitecture, ...]]:
        """For each method the shapes with at least one feasible configuration."""
        return {
            str(method): tuple(student for student in self.shapes if self.obstacle(str(method), student) is None)
            for method in self.axes["method"].choices
        }

    def legal(self, name: str, student: StudentArchitecture) -> tuple[Scalar, ...]:
        """The values of an axis that fit a shape; empty for a range."""
        if (name, student) not in self._legal:
            fitting = (value for value in self.axes[name].choices if self.objection(name, value, student) is None)
            self._legal[name, student] = tuple(fitting)
        return self._legal[name, student]

    @cached_property
    def _legal(self) -> dict[tuple[str, StudentArchitecture], tuple[Scalar, ...]]:
        return {}

    def objection(self, name: str, value: Scalar, student: StudentArchitecture) -> Objection | None:
        """The first thing to be said against a value for a shape: a rule, or another value with the same outcome."""
        if found := next(objections(name, value, student, self.teacher), None):
            return found
        return same_outcome(name, value, self.axes[name].choices, student, self.teacher)

    def suggest(self, trial: Chooser) -> dict[str, Any]:
        """Draw a feasible configuration: the method, a shape it can serve, then the legal values of each axis."""
        method = str(draw(trial, self.axes["method"], tuple(m for m, students in self.feasible.items() if students)))
        students = self.feasible[method]
        for name in next(iter(self.shapes.values())):
            spelt = {self.shapes[student][name] for student in students}
            value = draw(trial, self.axes[name], tuple(v for v in self.axes[name].choices if v in spelt))
            students = tuple(student for student in students if self.shapes[student][name] == value)
        (student,) = students
        drawn = {name: draw(trial, self.axes[name], self.legal(name, student)) for name in axes_of_trial(method)}
        return assemble(method, student, drawn)

    def enumerate(self) -> Iterator[dict[str, Any]]:
        """Every feasible configuration once; raises SpecError when an axis is a range."""
        if ranges := [axis.name for axis in self.axes.values() if axis.is_range]:
            raise SpecError([f"[space] {name}: a grid needs a list of values, got a range" for name in ranges])
        for method, students in self.feasible.items():
            names = axes_of_trial(method)
            for student in students:
                for values in itertools.product(*(self.legal(name, student) for name in names)):
                    yield assemble(method, student, dict(zip(names, values, strict=True)))

    def check(self, config: Mapping[str, Any]) -> None:
        """Raise InfeasibleConfig, with the reasons, unless the configuration is a feasible one of this space."""
        if "method" not in config:
            raise InfeasibleConfig("the configuration lacks method")
        try:
            config = canonical_config(config)
            names = axes_of_trial(config["method"])
        except SpecError as error:
            raise InfeasibleConfig("; ".join(error.problems)) from error
        wanted = {"method", *SHAPE_KEYS, *names}
        reasons = [f"the configuration lacks {key}" for key in sorted(wanted - config.keys())]
        reasons += [
            f"{key} does not belong to a configuration of method {config['method']!r}.{nearest(key, wanted)}"
            for key in sorted(config.keys() - wanted - {FAMILY.name})
        ]
        if reasons:
            raise InfeasibleConfig("; ".join(reasons))
        student = architecture_of(config)
        try:
            known = self.teacher.as_family(student.family)
        except SpecError as error:
            raise InfeasibleConfig("; ".join(error.problems)) from error
        reasons += student.problems() or known.family.problems(student)
        if student not in self.shapes:
            offers = [shape.name for shape in self.shapes]
            reasons.append(
                f"shape {student.name} is not in this space.{nearest(student.name, offers)} Known: {', '.join(offers)}"
            )
        for name in ("method", *names):
            outside = not (name in self.axes and self.axes[name].contains(config[name]))
            found = next(objections(name, config[name], student, self.teacher), None)
            if found is None and not outside:
                found = self.objection(name, config[name], student)
            if found is not None:
                reasons.append(found.text)
            elif outside:
                offered = self.axes[name].to_line() if name in self.axes else "nothing"
                reasons.append(f"{name} {config[name]!r} is not in this space, which offers {offered}")
        if reasons:
            raise InfeasibleConfig("; ".join(reasons))

    def to_table(self) -> dict[str, Any]:
        """The resolved [space] table: read back, it gives this space."""
        return {name: self.axes[name].to_line() for name in all_axes() if name in self.axes}

    def digest(self) -> str:
        """16 hex digits that change when, and only when, the space does; the order of listed values does not count."""
        known = self.teacher.architecture
        shapes = [[value for value in vars(student).values() if value is not None] for student in self.shapes]
        return digest_of(
            {
                "axes": {
                    name: sorted(line) if isinstance(line, list) else line
                    for name, line in self.to_table().items()
                    if name != "shape"
                },
                "shapes": sorted(shapes),
                "teacher": [known.num_layers, known.hidden_size, known.intermediate_size],
            }
        )

    def shape_objection(self, student: StudentArchitecture) -> Objection | None:
        """What is said against a shape, whatever is done with it."""
        if problems := student.problems():
            return Objection(HEADS_RULE, problems[0])
        if problems := self.teacher.as_family(student.family).family.problems(student):
            return Objection(FAMILY_RULE, problems[0])
        return None

    def obstacle(self, method: str, student: StudentArchitecture) -> Objection | None:
        """What keeps a method from serving a shape at all; None when some configuration has both."""
        if found := self.shape_objection(student):
            return found
        if found := next(objections("method", method, student, self.teacher), None):
            return found
        for name in axes_of_trial(method):
            if not self.axes[name].is_range and not self.legal(name, student):
                return self.objection(name, self.axes[name].choices[0], student)
        return None
