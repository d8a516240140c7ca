"""What a study will take, before it starts: configurations, shapes, disk, hours by phase; and the traps in its spec.

Hours are rough: counted FLOPs at a speed that is measured on one core in a fraction of a second. They are right within
a factor of two or so, and tell minutes from days.
"""

import itertools
import time
from collections.abc import Collection, Iterator, Sequence

import torch

from search.spec.checks import Study
from search.spec.sections import StudySpec
from spaces.records.data import DataFacts
from spaces.space.search_space import SearchSpace
from spaces.space.starts import MOST_STARTS
from spaces.students.architecture import StudentArchitecture, TeacherFacts, count_parameters, flops_per_token
from spaces.students.stages import terms_of
from trainables.machine import WIDE, WITHOUT_VNNI, multiplies_bf16, own_cores, pinned_threads, use_bf16, without_vnni
from trainables.tasks.protocols.finetune import usual_epochs
from trainables.tasks.spec import FINETUNE, protocol_for
from trainables.text.hub import HUB, hub_address

MAX_COUNTED = 100_000
"""Configurations."""
FEWEST_STEPS = 100
RANDOM_TOKENS = 5_000_000
"""Below, what starts from random weights stays behind what starts from the teacher's."""
BACKWARD = 3
"""A training step takes as many times the FLOPs of its forward pass."""
EFFICIENCY = {torch.float32: 0.6, torch.bfloat16: 0.3}
"""Of the speed of large matrix products, what encoders reach."""
FIT_S = 0.2
"""What fitting a probe takes, about, beside reading its texts."""
BYTES = 4
"""Of a weight."""
SPLITS = ("train", "dev", "test")
SHOWN_SHAPES = 8
GB = 1e9


def count_configurations(space: SearchSpace) -> int | None:
    """How many there are, counted up to MAX_COUNTED; None where a range makes them endless."""
    if any(axis.is_range for axis in space.axes.values()):
        return None
    return sum(1 for _ in itertools.islice(space.enumerate(), MAX_COUNTED))


def shape_lines(study: Study) -> Iterator[str]:
    """The shapes with their parameters, smallest first."""
    facts = study.teacher
    shapes = {shape for students in study.space.feasible.values() for shape in students}
    sizes = sorted((count_parameters(shape, facts), shape.name) for shape in shapes)
    whole = count_parameters(facts.architecture, facts.itself)
    listed = [f"{name} {size / 1e6:.3g} M ({size / whole:.0%})" for size, name in sizes]
    if len(listed) > SHOWN_SHAPES:
        listed = [*listed[: SHOWN_SHAPES // 2], f"{len(listed) - SHOWN_SHAPES} more", *listed[-SHOWN_SHAPES // 2 :]]
    yield f"{len(sizes)} shapes, parameters and share of the teacher's {whole / 1e6:.3g} M: {', '.join(listed)}"


def family_lines(space: SearchSpace) -> list[str]:
    """What students of other families than the teacher's start from, a line for each family."""
    families = sorted({shape.family for students in space.feasible.values() for shape in students if shape.family})
    own = space.teacher.family.name
    return [
        f"{family}: layers start with random weights; the start 'projected' takes over the words of {own}, and "
        "positions and types as far as both families have them"
        for family in families
    ]


def disk_gb(study: Study) -> float:
    """What all students of the study take together, if none gave way."""
    shapes = {shape for students in study.space.feasible.values() for shape in students}
    mean = sum(count_parameters(shape, study.teacher) for shape in shapes) / len(shapes)
    return study.spec.budget.trials * mean * BYTES / GB


def flops_per_s(spec: StudySpec) -> float:
    """That encoders reach on one core of this machine, in the arithmetic of the study; products are measured."""
    dtype = torch.bfloat16 if use_bf16(spec.evaluation.precision, torch.device("cpu"), WIDE) else torch.float32
    left, right = torch.randn(512, 384, dtype=dtype), torch.randn(384, 1536, dtype=dtype)
    best = float("inf")
    with pinned_threads(1), torch.no_grad():
        for _ in range(12):
            started = time.perf_counter()
            left @ right
            best = min(best, time.perf_counter() - started)
    return EFFICIENCY[dtype] * 2 * 512 * 384 * 1536 / best


def hours(study: Study, data: DataFacts, speed: float) -> dict[str, float]:
    """Hours by phase on this machine, as if every trial trained its whole budget; `speed` as of `flops_per_s`.

    Not for GPUs.
    """
    spec, space, facts = study.spec, study.space, study.teacher
    length = spec.corpus.sequence_length
    shapes = [shape for students in space.feasible.values() for shape in students]
    methods = [str(method) for method in space.axes["method"].choices]
    learning = sum(any(term.signals for term in terms_of(method)) for method in methods) / len(methods)

    def cost(shape: StudentArchitecture) -> int:
        return flops_per_token(shape, facts, length)

    student, teacher = sum(map(cost, shapes)) / len(shapes), cost(facts.architecture)
    read = tokens_read(spec, data, SPLITS[:-1] if spec.comparison.seeds is None else SPLITS)
    trials, tokens = spec.budget.trials, spec.budget.train_tokens
    cores = spec.cluster.workers_per_trial * spec.cluster.cpus_per_worker
    at_a_time = spec.cluster.concurrent_trials or max(1, own_cores() // cores)
    rate = speed * 3600
    lanes = min(at_a_time, trials)
    fitted = [task for task in spec.tasks if protocol_for(task.kind, spec.evaluation.protocol) == "probe"]
    fits_h = FIT_S * len(fitted) / 3600
    students = (trials + starts_scored(study)) * len(spec.deploy.precisions)
    scored = 1 + spec.evaluation.floor_seeds
    once = min(trials * tokens, data.corpus.tokens or trials * tokens)
    return {
        "scores of teacher and floor": scored * (read * teacher / rate + fits_h),
        "what the teacher says": learning * once * teacher / (rate * lanes * cores),
        "training": trials * tokens * BACKWARD * student / (rate * lanes * cores),
        "scores of students": students * (read * student / rate + fits_h) / lanes,
    }


def seconds_of_tests(
    spec: StudySpec, data: DataFacts | None, facts: TeacherFacts, shapes: Sequence[StudentArchitecture]
) -> float:
    """Seconds in which encoders of these shapes meet the test splits, one after the other; 0 on GPUs, or unknown."""
    if data is None or spec.cluster.gpus_per_worker:
        return 0.0
    per_token = sum(flops_per_token(shape, facts, spec.corpus.sequence_length) for shape in shapes)
    tokens = tokens_read(spec, data, ("test",))
    return tokens * per_token / flops_per_s(spec)


def tokens_read(spec: StudySpec, data: DataFacts, splits: Collection[str]) -> float:
    """Tokens of the forward passes by which one encoder is scored on all tasks, fine-tuning counted in such passes.

    Of the rows of these splits; documents are read with any.
    """
    recipe, found = spec.evaluation.recipe, 0.0
    rates = len(recipe.learning_rates)
    fits = recipe.seeds * (1 if rates < 2 else 1 + rates)
    for task in spec.tasks:
        if task.name not in data.tasks:
            continue
        facts = data.tasks[task.name]
        rows = {name: count for name, count in facts.rows.items() if name in splits or name not in SPLITS}
        if protocol_for(task.kind, spec.evaluation.protocol) == FINETUNE:
            epochs = recipe.epochs or usual_epochs(facts.rows["train"], recipe.batch_size)
            rows["train"] = facts.rows["train"] * epochs * fits * BACKWARD
        found += sum(rows.values()) * facts.row_tokens
    return found


def starts_scored(study: Study) -> int:
    """How many students a search scores before their first step: each start once, or with every trial."""
    if not study.spec.evaluation.starts or study.spec.comparison.seeds is not None:
        return 0
    starts = len(study.space.starts())
    return starts if starts <= MOST_STARTS else study.spec.budget.trials


def arithmetic_text(spec: StudySpec) -> str:
    """In what this machine's processor would train and score."""
    auto = f"bf16 from width {WIDE} on" if multiplies_bf16() else "fp32"
    steps, probes = (
        auto if asked == "auto" else asked for asked in (spec.training.precision, spec.evaluation.precision)
    )
    return f"steps and probes in {steps}" if steps == probes else f"steps in {steps}, probes in {probes}"


def hours_text(phases: dict[str, float]) -> str:
    """The whole and the share of each phase, for a person."""
    total = sum(phases.values())
    whole = f"{total:.1f} h" if total >= 1 else f"{max(1, round(total * 60))} min"
    shares = ", ".join(f"{name} {each / total:.0%}" for name, each in phases.items())
    return f"about {whole} on this machine, within a factor of two: {shares}"


def few_steps(spec: StudySpec, row_tokens: float) -> str:
    """What is wrong with a budget of too few steps, of rows that have so many tokens on average; '' with no other."""
    per_step = max(int(size) for size in spec.space["batch_size"]) * row_tokens
    steps = int(spec.budget.train_tokens / per_step)
    if steps >= FEWEST_STEPS:
        return ""
    return (
        f"[budget] train_tokens {spec.budget.train_tokens:,} are {steps} steps of {per_step:,.0f} tokens: from "
        f"{FEWEST_STEPS * per_step:,.0f} on ({FEWEST_STEPS} steps) trials differ by more than their start"
    )


def traps(study: Study, row_tokens: float = 0.0) -> Iterator[str]:
    """What a spec says that will hardly be what is wanted, a sentence each; row_tokens of single texts, where known."""
    spec, space = study.spec, study.space
    row_tokens = spec.corpus.sequence_length if spec.corpus.texts == "packed" else row_tokens
    if row_tokens and (line := few_steps(spec, row_tokens)):
        yield line
    starts = space.axes["initialisation"].choices if "initialisation" in space.axes else ()
    if "random" in starts and spec.budget.train_tokens < RANDOM_TOKENS:
        yield (
            f"[space] initialisation 'random' with {spec.budget.train_tokens:,} tokens: below {RANDOM_TOKENS:,} such "
            "students stay behind those that start from the teacher's weights"
        )
    if spec.corpus.source.startswith(HUB) and hub_address(spec.corpus.source)[1] is None:
        yield (
            f"[corpus] source {spec.corpus.source!r} is known by its name alone, and what the hub gives under it may "
            f"change: {spec.corpus.source}@REVISION stays the same"
        )
    if spec.deploy.gains_by_vnni and without_vnni():
        yield WITHOUT_VNNI
    count = count_configurations(space)
    if spec.comparison.seeds is None and count is not None and count < spec.budget.trials:
        yield (
            f"[budget] {spec.budget.trials} trials, but the space has {count} configurations: the others would repeat "
            "them; give learning_rate a range, or more values"
        )
