"""The stages of a method, which a trial goes through one after the other: "hs + mha for 0.6 then od unfreezing".

Each stage is a method, or a sum of them, with a share of the trial's tokens. It may read other text first ("on
supplement", Ko et al. 2023, arXiv:2302.01530), and begin with the student's head alone, which the layers join from the
top ("unfreezing", Mukherjee et al. 2021, arXiv:2106.04563). A method without "then" is one stage.
"""

import math
import re
from dataclasses import dataclass
from functools import cache

from spaces.errors import SpecError, unknown
from spaces.students.axis import Axis
from spaces.students.transfer import METHODS, TransferMethod, canonical_sum, parse_method

THEN_PATTERN = re.compile(r"\s+then\s+")
CLAUSE = r"(unfreezing|on\s+\S+|for\s+\S+)"
STAGE_PATTERN = re.compile(rf"(?P<method>.*?)(?P<clauses>(\s+{CLAUSE})*)", re.DOTALL)
CLAUSE_PATTERN = re.compile(CLAUSE)
SUPPLEMENT = "supplement"
FORM = "METHOD [unfreezing] [on supplement] [for SHARE]"
CLOSE = 1e-9
"""Shares that differ by less are the same."""


@dataclass(frozen=True)
class Stage:
    """One stage of a method."""

    method: str
    """A name or a sum, as `canonical_sum` spells it."""
    share: float = 1.0
    """Of the tokens of a trial."""
    unfreezing: bool = False
    """Whether only the student's head learns at first; its layers join it one by one from the top, embeddings last."""
    on_supplement: bool = False
    """Whether it reads [corpus] supplement in place of source."""

    @property
    def text(self) -> str:
        """It as it is written, short of its share."""
        return self.method + " unfreezing" * self.unfreezing + f" on {SUPPLEMENT}" * self.on_supplement


@cache
def stages_of(method: str) -> tuple[Stage, ...]:
    """Read the stages of a method; those without a share have equal parts of what the others leave.

    Raises SpecError with everything that is wrong with them.
    """
    problems: list[str] = []
    stages = [read_stage(text, problems) for text in THEN_PATTERN.split(method.strip())]
    if not problems:
        stages = shared_out(method, stages, problems)
    if problems:
        raise SpecError(list(dict.fromkeys(problems)))
    return tuple(stages)


def read_stage(text: str, problems: list[str]) -> Stage:
    """One stage; its share is nan where none is written."""
    match = STAGE_PATTERN.fullmatch(text)
    assert match is not None  # it fits every text
    try:
        method = canonical_sum(match["method"])
    except SpecError as error:
        problems += error.problems
        method = ""
    clauses = [clause.split() for clause in CLAUSE_PATTERN.findall(match["clauses"])]
    kinds = [clause[0] for clause in clauses]
    for kind in sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        problems.append(f"method {text!r} says {kind!r} twice; a stage is written {FORM}")
    found = {clause[0]: clause[-1] for clause in clauses}
    if (place := found.get("on", SUPPLEMENT)) != SUPPLEMENT:
        problems.append(f"method {text!r}: {unknown('text', [SUPPLEMENT], place)}")
    if "unfreezing" in found and method and not any(map(has_head, terms_of_sum(method))):
        heads = ", ".join(name for name, known in METHODS.items() if has_head(known))
        problems.append(
            f"method {text!r}: unfreezing begins with a head of the student, and {method!r} trains none; methods that "
            f"do: {heads}"
        )
    share = math.nan if "for" not in found else read_share(text, found["for"], problems)
    return Stage(method, share, "unfreezing" in found, "on" in found)


def read_share(text: str, share: str, problems: list[str]) -> float:
    """A share above 0 and up to 1."""
    try:
        value = float(share)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        nearest = "; nearest: 1" if value > 1 else ""
        problems.append(f"method {text!r}: its share must be a number above 0, 1 at most, got {share!r}{nearest}")
    return value


def shared_out(method: str, stages: list[Stage], problems: list[str]) -> list[Stage]:
    """The stages with all shares, which add up to 1."""
    given = [stage.share for stage in stages if not math.isnan(stage.share)]
    left, count = 1 - sum(given), len(stages) - len(given)
    if (count and left < CLOSE) or (not count and abs(left) > CLOSE):
        last = stages[-1].share
        nearest = (
            f"leave less than 1 for the {count} without a share" if count or last + left < CLOSE
            else f"nearest: {last + left:.12g} for the last"
        )  # fmt: skip
        problems.append(f"method {method!r}: the shares of its stages add up to {sum(given):.12g}, not to 1; {nearest}")
        return stages
    return [
        Stage(s.method, left / count if math.isnan(s.share) else s.share, s.unfreezing, s.on_supplement) for s in stages
    ]


def canonical_method(text: str) -> str:
    """The one spelling of a method: stages without a share where all have the same, else all but the last with one."""
    stages = stages_of(text)
    if all(abs(stage.share - 1 / len(stages)) < CLOSE for stage in stages):
        return " then ".join(stage.text for stage in stages)
    return " then ".join([*(f"{stage.text} for {stage.share:.12g}" for stage in stages[:-1]), stages[-1].text])


def has_head(term: TransferMethod) -> bool:
    """Whether a method trains a head of the student's own."""
    return term.student_lm_head or term.scores_pairs or term.classifies


def terms_of_sum(method: str) -> tuple[TransferMethod, ...]:
    """The transfer methods of one stage."""
    return tuple(METHODS[name] for name, _ in parse_method(method))


def terms_of(method: str) -> tuple[TransferMethod, ...]:
    """The transfer methods that a method sums, those of all its stages together, in the order of METHODS."""
    used = {name for stage in stages_of(method) for name, _ in parse_method(stage.method)}
    return tuple(METHODS[name] for name in METHODS if name in used)


def axes_of(method: str) -> tuple[Axis, ...]:
    """The axes that a trial of this method has besides the common ones, without repeats."""
    return tuple(dict.fromkeys(axis for term in terms_of(method) for axis in term.axes))
