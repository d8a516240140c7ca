"""The conditional search space: what a study may try, drawn so that infeasible configurations never come up.

A configuration is a method, a shape, the axes of that method, and the common axes. Every rule (feasibility.py) looks at
one axis and the shape, so a space is a table of feasible (method, shape) pairs with the legal values of each axis, and
a draw restricts each axis to those values. Optuna forbids changing the choices of a name, so a restricted axis is drawn
under a name that spells its choices, such as "relation_heads@12,24": branches with the same legal values share it.
"""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from spaces.errors import InfeasibleConfig, SpecError, nearest
from spaces.space.axes import AXES, SHAPE_AXES, Axis, Scalar, default_axis, read_table, whole
from spaces.space.feasibility import RULES, Objection, objections, same_outcome
from spaces.students.architecture import StudentArchitecture, TeacherFacts, architecture_of, parse_shape
from spaces.students.transfer import METHODS, axes_of

if TYPE_CHECKING:
    import optuna

ARCHITECTURE_KEYS = ("num_layers", "hidden_size", "num_heads", "intermediate_size")
COMMON_AXES = ("initialisation", "learning_rate", "batch_size")
HEADS_RULE = "attention heads divide the student's width"


def config_hash(config: Mapping[str, Any], seed: int) -> str:
    """16 hex digits that name a trial: equal for equal configurations and seeds, whatever the order of keys."""
    return digest_of({"config": canonical_config(config), "seed": int(seed)})


def canonical_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with known values in their one spelling (temperature 2 is 2.0); other keys stay as they are."""
    readers = {**AXES, "intermediate_size": whole}
    return {key: readers[key](value) if key in readers else value for key, value in config.items()}


def digest_of(payload: Any) -> str:
    """16 hex digits of a JSON value, independent of key order."""
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def draw(trial: "optuna.Trial", axis: Axis, legal: tuple[Scalar, ...]) -> Scalar:
    """Draw one of the legal values of an axis, under a name whose choices are the same for ever."""
    if axis.is_range:
        return trial.suggest_float(axis.name, axis.low, axis.high, log=axis.log)
    name = axis.name if legal == axis.choices else f"{axis.name}@{','.join(map(str, legal))}"
    choice = trial.suggest_categorical(name, list(legal))
    assert choice is not None
    return choice


def assemble(method: str, student: StudentArchitecture, drawn: Mapping[str, Any]) -> dict[str, Any]:
    """The flat configuration of a trial."""
    return {"method": method, **{key: getattr(student, key) for key in ARCHITECTURE_KEYS}, **drawn}


@dataclass(frozen=True)
class SearchSpace:
    """The axes of a study, resolved, and the teacher whose students they describe."""

    axes: Mapping[str, Axis]
    teacher: TeacherFacts

    @classmethod
    def from_table(cls, table: Mapping[str, Any], teacher: TeacherFacts, sequence_length: int) -> "SearchSpace":
        """Read the [space] table of a spec; raises SpecError with every problem found.

        Axes that the methods need and the table leaves out get their defaults. Every value that is written down must be
        used by some feasible configuration: a value that never comes up is a mistake worth hearing about.
        """
        axes, problems = read_table(table)
        if sequence_length > teacher.max_positions:
            problems.append(
                f"[corpus] sequence_length: must be at most the teacher's {teacher.max_positions} positions, got "
                f"{sequence_length}; nearest legal: {teacher.max_positions}"
            )
        spelt = [name for name in ("shape", *SHAPE_AXES) if name in axes]
        if "method" not in axes or not ("shape" in spelt or {"num_layers", "hidden_size"} <= set(spelt)):
            raise SpecError(problems)
        active = {axis for method in axes["method"].choices for axis in axes_of(str(method))} | set(COMMON_AXES)
        for name in [name for name in axes if name not in (*active, "method", *spelt)]:
            users = ", ".join(method for method, known in METHODS.items() if name in known.axes)
            problems.append(f"[space] {name}: no method of this space uses it (used by {users})")
            del axes[name]
        defaults = [name for name in active if name not in axes]
        if "shape" not in axes and "ffn_ratio" not in axes:
            defaults.append("ffn_ratio")
        space = cls(axes | {name: default_axis(name, teacher) for name in defaults}, teacher)
        if not any(space.feasible.values()):
            raise SpecError([*problems, *space._value_problems(axes, only_own=True), space._why_empty()])
        problems += space._value_problems(axes, only_own=False)
        if problems:
            raise SpecError(problems)
        return space._without_unused(defaults)

    @cached_property
    def shapes(self) -> dict[StudentArchitecture, dict[str, Scalar]]:
        """Every shape the axes spell, buildable or not, with the values of the shape axes that spell it."""
        if "shape" in self.axes:
            return {parse_shape(str(name)): {"shape": name} for name in self.axes["shape"].choices}
        names = [name for name in SHAPE_AXES if name in self.axes]
        shapes: dict[StudentArchitecture, dict[str, Scalar]] = {}
        for values in itertools.product(*(self.axes[name].choices for name in names)):
            chosen = dict(zip(names, values, strict=True))
            layers, width = int(chosen["num_layers"]), int(chosen["hidden_size"])
            heads = chosen.get("num_heads") or parse_shape(f"{layers}x{width}").num_heads
            student = StudentArchitecture(layers, width, int(heads), max(1, round(float(chosen["ffn_ratio"]) * width)))
            shapes.setdefault(student, chosen)
        return shapes

    @cached_property
    def feasible(self) -> dict[str, tuple[StudentArchitecture, ...]]:
        """For each method the shapes with at least one feasible configuration."""
        return {
            str(method): tuple(student for student in self.shapes if self._obstacle(str(method), student) is None)
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
        preferred = same_outcome(name, value, self.axes[name].choices, student, self.teacher)
        if preferred is None:
            return None
        text = f"{name} {value!r} is the same as {preferred!r} for a {student.name} student"
        return Objection(f"two values of {name} that come to the same are tried once", text)

    def suggest(self, trial: "optuna.Trial") -> dict[str, Any]:
        """Draw a feasible configuration: the method, a shape it can serve, then the legal values of each axis."""
        method = str(draw(trial, self.axes["method"], tuple(m for m, students in self.feasible.items() if students)))
        students = self.feasible[method]
        for name in next(iter(self.shapes.values())):
            spelt = {self.shapes[student][name] for student in students}
            value = draw(trial, self.axes[name], tuple(v for v in self.axes[name].choices if v in spelt))
            students = tuple(student for student in students if self.shapes[student][name] == value)
        (student,) = students
        drawn = {
            name: draw(trial, self.axes[name], self.legal(name, student)) for name in (*axes_of(method), *COMMON_AXES)
        }
        return assemble(method, student, drawn)

    def enumerate(self) -> Iterator[dict[str, Any]]:
        """Every feasible configuration once; raises SpecError when an axis is a range."""
        if ranges := [axis.name for axis in self.axes.values() if axis.is_range]:
            raise SpecError([f"[space] {name}: a grid needs a list of values, got a range" for name in ranges])
        for method, students in self.feasible.items():
            names = (*axes_of(method), *COMMON_AXES)
            for student in students:
                for values in itertools.product(*(self.legal(name, student) for name in names)):
                    yield assemble(method, student, dict(zip(names, values, strict=True)))

    def check(self, config: Mapping[str, Any]) -> None:
        """Raise InfeasibleConfig, with the reasons, unless the configuration is a feasible one of this space."""
        if "method" not in config:
            raise InfeasibleConfig("the configuration lacks method")
        try:
            config = canonical_config(config)
            names = (*axes_of(config["method"]), *COMMON_AXES)
        except SpecError as error:
            raise InfeasibleConfig("; ".join(error.problems)) from error
        wanted = {"method", *ARCHITECTURE_KEYS, *names}
        reasons = [f"the configuration lacks {key}" for key in sorted(wanted - config.keys())]
        reasons += [
            f"{key} does not belong to a configuration of method {config['method']!r}.{nearest(key, wanted)}"
            for key in sorted(config.keys() - wanted)
        ]
        if reasons:
            raise InfeasibleConfig("; ".join(reasons))
        student = architecture_of(config)
        reasons += student.problems()
        if student not in self.shapes:
            known = [shape.name for shape in self.shapes]
            reasons.append(
                f"shape {student.name} is not in this space.{nearest(student.name, known)} Known: {', '.join(known)}"
            )
        for name in ("method", *names):
            outside = not (name in self.axes and self.axes[name].contains(config[name]))
            found = next(objections(name, config[name], student, self.teacher), None)
            if found is None and not outside:
                found = self.objection(name, config[name], student)
            if found is not None:
                reasons.append(found.text)
            elif outside:
                offered = self.axes[name].to_table() if name in self.axes else "nothing"
                reasons.append(f"{name} {config[name]!r} is not in this space, which offers {offered}")
        if reasons:
            raise InfeasibleConfig("; ".join(reasons))

    def to_table(self) -> dict[str, Any]:
        """The resolved [space] table: read back, it gives this space."""
        return {name: self.axes[name].to_table() for name in AXES if name in self.axes}

    def digest(self) -> str:
        """16 hex digits that change when, and only when, the space does; the order of listed values does not count."""
        known = self.teacher.architecture
        return digest_of(
            {
                "axes": {
                    name: sorted(line) if isinstance(line, list) else line for name, line in self.to_table().items()
                },
                "shapes": sorted(list(vars(student).values()) for student in self.shapes),
                "teacher": [known.num_layers, known.hidden_size, known.intermediate_size],
            }
        )

    def _obstacle(self, method: str, student: StudentArchitecture) -> Objection | None:
        """What keeps a method from serving a shape at all; None when some configuration has both."""
        if problems := student.problems():
            return Objection(HEADS_RULE, problems[0])
        if found := next(objections("method", method, student, self.teacher), None):
            return found
        for name in (*axes_of(method), *COMMON_AXES):
            if not self.axes[name].is_range and not self.legal(name, student):
                return self.objection(name, self.axes[name].choices[0], student)
        return None

    def _used(self) -> set[tuple[str, Scalar]]:
        """The (axis, value) pairs that some feasible configuration has."""
        used: set[tuple[str, Scalar]] = set()
        for method, students in self.feasible.items():
            for student in students:
                used |= {("method", method), *self.shapes[student].items()}
                used |= {(name, v) for name in (*axes_of(method), *COMMON_AXES) for v in self.legal(name, student)}
        return used

    def _without_unused(self, names: list[str]) -> "SearchSpace":
        """The same space with the unused values of these axes dropped; an axis without any used value stays whole."""
        used, axes = self._used(), dict(self.axes)
        for name in names:
            if kept := tuple(value for value in axes[name].choices if (name, value) in used):
                axes[name] = Axis(name, kept)
        return SearchSpace(axes, self.teacher)

    def _pairs_with(self, name: str, value: Scalar) -> list[tuple[str, StudentArchitecture]]:
        """The (method, shape) pairs that a value could go with."""
        return [
            (method, student)
            for method in self.feasible
            for student, chosen in self.shapes.items()
            if (method == value if name == "method" else chosen[name] == value if name in chosen else True)
            and (name in ("method", *chosen, *COMMON_AXES) or name in axes_of(method))
        ]

    def _value_problems(self, written: Mapping[str, Axis], *, only_own: bool) -> list[str]:
        """Written values that no feasible configuration has, and why; `only_own`: for reasons of their own alone."""
        used, problems = self._used(), []
        for name, axis in written.items():
            for value in axis.choices:
                if (name, value) in used:
                    continue
                pairs = self._pairs_with(name, value)
                own = [self._own_objection(name, value, student) for _, student in pairs]
                if all(own):
                    texts = dict.fromkeys(found.text for found in own if found)
                elif only_own:
                    continue
                else:
                    texts = dict.fromkeys(found.text for pair in pairs if (found := self._obstacle(*pair)))
                why = "; ".join(list(texts)[:2]) or "another value gives the same shapes"
                problems.append(f"[space] {name}: {value!r} is in no feasible configuration: {why}")
        return problems

    def _own_objection(self, name: str, value: Scalar, student: StudentArchitecture) -> Objection | None:
        """What is said against a value for a shape, the shape's own rule included."""
        if name in ("shape", *SHAPE_AXES):
            return next((Objection(HEADS_RULE, problem) for problem in student.problems()), None)
        return self.objection(name, value, student)

    def _why_empty(self) -> str:
        """Which rule excluded the most combinations of a space that has no feasible one."""
        broken: Counter[str] = Counter()
        examples: dict[str, str] = {}
        total = 0
        for method, student in itertools.product(self.feasible, self.shapes):
            verdicts = [
                [self._own_objection("shape", student.name, student)],
                [self.objection("method", method, student)],
            ]
            ruled = [name for name in (*axes_of(method), *COMMON_AXES) if any(rule.axis == name for rule in RULES)]
            verdicts += [[self.objection(name, value, student) for value in self.axes[name].choices] for name in ruled]
            for combination in itertools.product(*verdicts):
                total += 1
                found = {objection.statement: objection.text for objection in combination if objection}
                broken.update(found.keys())
                examples = found | examples
        statement, times = broken.most_common(1)[0]
        return (
            f"[space] no configuration is feasible. The rule that excluded the most, {times} of {total} combinations: "
            f"{statement}. For example: {examples[statement]}"
        )
