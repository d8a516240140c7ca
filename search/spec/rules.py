"""Rules between the values of a spec, its tasks, its teacher and its space.

A rule yields what it finds wrong. It runs on whatever could be read, and gives up at the first value that could not: so
that no problem hides another, and none is reported that is only the consequence of another.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from search.samplers.answers import conditional_axes
from search.samplers.registry import GRID, SAMPLERS
from search.spec.languages import languages_of
from search.spec.reading import Unsound
from search.spec.sections import TRACKERS, StudySpec
from spaces.errors import SpecError, StillhouseError, nearest
from spaces.records.costs import COSTS
from spaces.records.objectives import QUALITIES, named_objectives
from spaces.space.axes import axes_of_trial
from spaces.space.search_space import SearchSpace
from spaces.students.architecture import TeacherFacts, parse_shape
from spaces.students.transfer import terms_of
from trainables.tasks.kinds import KINDS
from trainables.tasks.spec import TaskSpec, protocol_for, protocol_problem, task_problems

Problems = Iterator[str]
WORST = "worst_language_quality"


def broken(rules: tuple[Callable[..., Problems], ...], *values: Any) -> list[str]:
    """What these rules say of these values."""
    found: list[str] = []
    for rule in rules:
        try:
            found.extend(rule(*values))  # keeps what was found before a value that could not be read
        except Unsound:
            continue
    return found


def known_protocol(spec: StudySpec) -> Problems:
    if problem := protocol_problem(spec.evaluation.protocol):
        yield f"[evaluation] {problem}"


def metrics_of_protocol(spec: StudySpec) -> Problems:
    """A metric that the kind has under another protocol only."""
    if protocol_problem(spec.evaluation.protocol):
        return
    for task in spec.tasks:
        kind = KINDS.get(task.kind)
        if kind is not None and task.metric in {metric.name for metric in kind.metrics}:
            own = protocol_for(task.kind, spec.evaluation.protocol)
            if task.metric not in (known := [metric.name for metric in kind.protocols[own].metrics]):
                yield f"[[tasks]] {task.name} metric: {task.metric!r} does not fit {own!r}. Known: {', '.join(known)}"


def known_objectives(spec: StudySpec) -> Problems:
    objectives = named_objectives()
    for name in [*spec.search.objectives, *spec.search.constraints]:
        if name not in objectives:
            yield f"[search] unknown objective {name!r}.{nearest(name, objectives)} Known: {', '.join(objectives)}"


def quality_and_a_cost(spec: StudySpec) -> Problems:
    objectives = spec.search.objectives
    if "quality" not in objectives:
        yield f"[search] objectives must hold 'quality', got {list(objectives)}"
    if all(name in QUALITIES for name in objectives):
        yield f"[search] objectives must hold a cost ({', '.join(COSTS)}), got {list(objectives)}"
    known = named_objectives()
    if len({known[name].name if name in known else name for name in objectives}) < len(objectives):
        yield f"[search] objectives names one twice: {list(objectives)}"


def worst_of_two_languages(spec: StudySpec) -> Problems:
    """The worst of fewer than two languages is no objective of its own."""
    if WORST in spec.search.objectives and len(named := sorted(set(languages_of(spec.tasks).values()))) < 2:
        have = f"this spec names only {named[0]}" if named else "this spec names none"
        yield f"[search] objective {WORST!r} needs tasks in at least two languages; {have}"


def limits_on_costs(spec: StudySpec) -> Problems:
    for name, limit in spec.search.constraints.items():
        if name in QUALITIES:
            yield f"[search] constraints are upper limits on costs; {name!r} is not a cost"
        elif name not in COSTS and (cost := named_objectives().get(name)) is not None:
            yield f"[search] constraints are upper limits on costs; instead of {name!r} limit {cost.name!r}"
        if limit <= 0:
            yield f"[search] constraints.{name} must be above 0, got {limit!r}"


def installed_callbacks(spec: StudySpec) -> Problems:
    for name in spec.logging.callbacks:
        if name not in TRACKERS:
            yield f"[logging] unknown callback {name!r}.{nearest(name, TRACKERS)} Known: {', '.join(TRACKERS)}"
        elif find_spec(TRACKERS[name]) is None:
            yield f"[logging] callback {name!r} needs the package {TRACKERS[name]}: pip install 'stillhouse[{name}]'"


def rates_above_nothing(spec: StudySpec) -> Problems:
    for rate in spec.evaluation.finetune_learning_rates:
        if rate <= 0:
            yield f"[evaluation] finetune_learning_rates must be above 0, got {rate!r}"


def whole_gpus(spec: StudySpec) -> Problems:
    gpus = spec.cluster.gpus_per_worker
    if gpus > 1 and gpus != int(gpus):
        yield f"[cluster] gpus_per_worker must be a whole number or a share below 1, got {gpus!r}"
    if 0 < gpus < 1 < spec.cluster.workers_per_trial:
        yield (
            f"[cluster] gpus_per_worker must be 1 or more with several workers per trial, since NCCL wants a device "
            f"for each, got {gpus!r}"
        )


def first_rung_within_budget(spec: StudySpec) -> Problems:
    first, tokens = spec.rungs.first_tokens, spec.budget.train_tokens
    if first is not None and first >= tokens:
        yield (
            f"[rungs] first_tokens must be below the budget of {tokens:,} tokens, got {first:,}; "
            f"nearest with factor {spec.rungs.factor}: {max(1, tokens // spec.rungs.factor):,}"
        )


def comparison_without_rungs(spec: StudySpec) -> Problems:
    if spec.comparison.seeds is not None and spec.rungs.first_tokens is not None:
        yield "[comparison] compares full budgets: leave [rungs] first_tokens out"


def comparison_without_limits(spec: StudySpec) -> Problems:
    if spec.comparison.seeds is not None and spec.search.constraints:
        yield "[comparison] runs every student of the space: leave [search] constraints out"


def what_fits_packed_blocks(spec: StudySpec) -> Problems:
    if spec.corpus.texts != "packed" and spec.corpus.language_temperature is not None:
        yield "[corpus] language_temperature mixes packed blocks: leave it out, or texts = 'packed'"
    if spec.corpus.texts == "packed" and spec.corpus.queries is not None:
        yield "[corpus] queries are single texts: leave them out, or texts = 'single' or 'sentences'"


def named_corpus(spec: StudySpec) -> Problems:
    yield from _named_hub_source(spec.corpus.source)


def named_task_source(task: TaskSpec) -> Problems:
    yield from _named_hub_source(task.source)


def fitting_metric(task: TaskSpec) -> Problems:
    yield from (f"[[tasks]] {task.name} {problem}" for problem in task_problems(task))


def _named_hub_source(source: str) -> Problems:
    if source == "hub:":
        yield f"{source!r} names no data set: write hub:name or hub:name/subset"


def measured_length_fits(spec: StudySpec, teacher: TeacherFacts) -> Problems:
    yield from _fits("[latency] sequence_length", spec.latency.sequence_length, teacher)


def task_length_fits(task: TaskSpec, teacher: TeacherFacts) -> Problems:
    yield from _fits(f"[[tasks]] {task.name} max_length", task.max_length, teacher)


def _fits(where: str, length: int, teacher: TeacherFacts) -> Problems:
    if length > teacher.max_positions:
        yield (
            f"{where} must not exceed the {teacher.max_positions} positions of teacher {teacher.name!r}, got {length}"
        )


def batch_is_shared_evenly(spec: StudySpec, space: SearchSpace) -> Problems:
    workers, accumulation = spec.cluster.workers_per_trial, spec.training.gradient_accumulation
    shares = workers * accumulation
    for size in space.to_table().get("batch_size", []):
        if size % shares:
            yield (
                f"[space] batch_size {size} is not a multiple of {shares} (workers_per_trial {workers} x "
                f"gradient_accumulation {accumulation}); nearest: {max(shares, round(size / shares) * shares)}"
            )


def budget_is_a_batch(spec: StudySpec, space: SearchSpace) -> Problems:
    for size in space.to_table().get("batch_size", []):
        packed = spec.corpus.texts == "packed"  # how long single texts are is known when they are cut
        if packed and size * spec.corpus.sequence_length > spec.budget.train_tokens:
            yield (
                f"[budget] train_tokens {spec.budget.train_tokens} is less than one batch of {size} x "
                f"{spec.corpus.sequence_length} tokens"
            )


def texts_for_methods(spec: StudySpec, space: SearchSpace) -> Problems:
    """Packed blocks have no bounds of texts to embed; a mask of words must not depend on a text's company."""
    single = spec.corpus.texts != "packed"
    for method in space.axes["method"].choices:
        for term in terms_of(str(method)):
            if "pooled" in term.signals and not single:
                yield f"[space] method {term.name!r} embeds texts: it needs [corpus] texts = 'single' or 'sentences'"
            if term.masked_inputs and single:
                yield f"[space] method {term.name!r} masks words of packed blocks: it needs [corpus] texts = 'packed'"


def tuned_shape_is_in_space(spec: StudySpec, space: SearchSpace) -> Problems:
    wanted = spec.comparison.tune_shape
    if wanted is None:
        return
    try:
        known = parse_shape(wanted, space.teacher.architecture.head_size) in space.shapes
    except SpecError as error:
        yield from (f"[comparison] tune_shape: {problem}" for problem in error.problems)
        return
    if not known:
        names = ", ".join(shape.name for shape in space.shapes)
        yield f"[comparison] tune_shape {wanted!r} is no shape of the space. Known: {names}"


def students_reach_the_index(spec: StudySpec, space: SearchSpace) -> Problems:
    """A narrower student has embeddings of the teacher's width only where the map that it learnt is handed over."""
    if spec.evaluation.documents != "teacher":
        return
    width = space.teacher.architecture.hidden_size
    others = sorted({shape.hidden_size for shape in space.shapes if shape.hidden_size != width})
    axis = "embed_projection"
    kept = space.to_table().get(axis) == ["kept"] and all(
        axis in axes_of_trial(str(m)) for m in space.to_table()["method"]
    )
    if others and not kept:
        yield (
            f'[evaluation] documents = "teacher" needs students as wide as the teacher, {width}, whose documents '
            f"their queries are compared with; the space has {', '.join(map(str, others))}. Or let every method have "
            f'"embed" in it, and {axis} = ["kept"]'
        )
    if size := shorter_embedding(space):
        yield (
            f'[evaluation] documents = "teacher" needs whole embeddings, got embedding_size {size}: the index has all '
            "values of the teacher's, in its own directions"
        )
    with_documents = [name for name, kind in KINDS.items() if kind.has_documents]
    if not any(task.kind in with_documents for task in spec.tasks):
        yield f'[evaluation] documents = "teacher" needs a task of kind {" or ".join(with_documents)}'


def shorter_embedding(space: SearchSpace) -> int | None:
    """The smallest embedding_size that the space may choose below the whole one of the teacher."""
    axis = space.axes.get("embedding_size")
    smallest = min((int(size) for size in axis.choices), default=0) if axis else 0
    whole = space.teacher.embedding.width_of(space.teacher.architecture.hidden_size)
    return smallest if 0 < smallest < whole else None


def map_of_shorter_embeddings(spec: StudySpec, space: SearchSpace) -> Problems:
    """Its map is always handed over, so that to drop it would be the same student again."""
    width = space.teacher.architecture.hidden_size
    narrower = any(shape.hidden_size != width for shape in space.shapes)
    kept = space.to_table().get("embed_projection") == ["kept"]
    if (size := shorter_embedding(space)) and narrower and not kept:
        yield (
            f"[space] embedding_size {size} is reached through a map that is handed over: write "
            'embed_projection = ["kept"]'
        )


def comparison_is_finite(spec: StudySpec, space: SearchSpace) -> Problems:
    if spec.comparison.seeds is not None:
        yield from _finite("[comparison]", space)


def grid_is_finite(spec: StudySpec, space: SearchSpace) -> Problems:
    if spec.search.sampler == GRID and spec.comparison.seeds is None:
        yield from _finite("[search] sampler 'grid'", space)


def same_axes_for_gp(spec: StudySpec, space: SearchSpace) -> Problems:
    """Optuna's GPSampler draws axes that come and go at random, and then holds the others at a bound of their range."""
    if spec.search.sampler == "gp" and (varying := conditional_axes(space.suggest)):
        yield (
            f"[search] sampler 'gp' needs the same axes with the same values in every configuration; here "
            f"{', '.join(varying)} depend on others: give each of them one value, or take 'tpe'"
        )


def sampler_can_be_loaded(spec: StudySpec, space: SearchSpace) -> Problems:
    """That of another package may be missing a part; better known now than when the first trial is asked for."""
    try:
        SAMPLERS.get(spec.search.sampler)
    except StillhouseError as error:
        yield f"[search] sampler: {error}"


def _finite(where: str, space: SearchSpace) -> Problems:
    try:
        next(iter(space.enumerate()), None)
    except SpecError as error:
        yield from (f"{where}: {problem}" for problem in error.problems)


SPEC_RULES = (
    known_protocol,
    metrics_of_protocol,
    known_objectives,
    quality_and_a_cost,
    worst_of_two_languages,
    limits_on_costs,
    installed_callbacks,
    rates_above_nothing,
    whole_gpus,
    first_rung_within_budget,
    comparison_without_rungs,
    comparison_without_limits,
    what_fits_packed_blocks,
    named_corpus,
)
"""Rules on (spec)."""
TASK_RULES = (named_task_source, fitting_metric)
"""Rules on (task), for each."""
TEACHER_RULES = (measured_length_fits,)
"""Rules on (spec, teacher)."""
TASK_TEACHER_RULES = (task_length_fits,)
"""Rules on (task, teacher), for each."""
SPACE_RULES = (
    batch_is_shared_evenly,
    budget_is_a_batch,
    texts_for_methods,
    tuned_shape_is_in_space,
    students_reach_the_index,
    map_of_shorter_embeddings,
    comparison_is_finite,
    grid_is_finite,
    sampler_can_be_loaded,
    same_axes_for_gp,
)
"""Rules on (spec, space)."""
