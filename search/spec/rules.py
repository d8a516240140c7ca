"""Rules between the values of a spec, its tasks and its teacher; those on its space are in space_rules.py.

A rule yields what it finds wrong. It runs on whatever could be read, and gives up at the first value that could not: so
that no problem hides another, and none is reported that is only the consequence of another.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from search.samplers.registry import FREEZE_THAW, GRID
from search.spec.deploy_rules import DEPLOY_RULES
from search.spec.languages import languages_of
from search.spec.reading import Unsound
from search.spec.sections import TRACKERS, SearchSpec, StudySpec
from spaces.errors import nearest
from spaces.records.costs import COSTS
from spaces.records.objectives import QUALITIES, named_objectives
from spaces.students.architecture import TeacherFacts
from trainables.tasks.kinds import KINDS
from trainables.tasks.spec import TaskSpec, protocol_for, protocol_problem, task_problems
from trainables.text.near_duplicates import MISSING

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
    gpus = spec.cluster.gpus_per_worker or 0.0
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


def inheritance_in_searches(spec: StudySpec) -> Problems:
    """Trials that are compared begin alike, and a start is taken over by its score."""
    asked = {"[search] inherit": spec.search.inherit, "[budget] final_share": spec.budget.final_share}
    for name in (name for name, value in asked.items() if value):
        if spec.comparison.seeds is not None:
            yield f"{name}: a comparison runs every trial from its own start; leave {name.split()[1]} out"
        elif not spec.evaluation.starts:
            yield f"{name} takes over the weights that score better: set [evaluation] starts = true"
    if 0 < spec.budget.final_share * spec.budget.trials < 0.5:
        least = 1 / spec.budget.trials
        yield (
            f"[budget] final_share {spec.budget.final_share:g} of {spec.budget.trials} trials is none; at least "
            f"{least:.2g}"
        )


def limits_without_a_comparison(spec: StudySpec) -> Problems:
    if spec.comparison.seeds is not None:
        for name in ("hours", "cost"):
            if getattr(spec.budget, name) is not None:
                yield f"[budget] {name}: a comparison runs every trial that it compares; leave {name} out"


def cost_needs_a_price(spec: StudySpec) -> Problems:
    if spec.budget.cost is not None and spec.cluster.worker_price is None:
        yield "[budget] cost needs [cluster] worker_price: what an hour of one worker costs"


def schedule_needs_a_model(spec: StudySpec) -> Problems:
    if spec.rungs.first_tokens is None and spec.search.stop_when:
        yield "[search] stop_when needs rungs: set [rungs] first_tokens"
    elif spec.search.stop_when and spec.search.schedule != FREEZE_THAW:
        yield f"[search] stop_when needs schedule = 'freeze_thaw', got {spec.search.schedule!r}"
    if spec.rungs.first_tokens is None or spec.search.schedule != FREEZE_THAW:
        return
    if spec.search.sampler not in (SearchSpec().sampler, GRID):
        yield (
            f"[search] sampler {spec.search.sampler!r} has no say under schedule = 'freeze_thaw', which chooses by its "
            "model at every rung: leave sampler out, or set schedule = 'halving'"
        )
    if spec.search.candidates == 1:
        yield "[search] candidates = 1 asks for no model, which 'freeze_thaw' needs: set schedule = 'halving'"


def near_duplicates_of_texts(spec: StudySpec) -> Problems:
    if spec.corpus.near_duplicates is None:
        return
    if spec.corpus.texts == "pairs":
        yield "[corpus] near_duplicates is of texts, and pairs are queries with passages: leave it out"
    if find_spec("rensa") is None:
        yield MISSING


def what_fits_packed_blocks(spec: StudySpec) -> Problems:
    if spec.corpus.texts != "packed" and spec.corpus.language_temperature is not None:
        yield "[corpus] language_temperature mixes packed blocks: leave it out, or texts = 'packed'"
    if spec.corpus.texts in ("packed", "pairs") and spec.corpus.queries is not None:
        yield "[corpus] queries are single texts: leave them out, or texts = 'single' or 'sentences'"


def pairs_of_files(spec: StudySpec) -> Problems:
    if spec.corpus.texts == "pairs" and (spec.corpus.source == "docs" or spec.corpus.source.startswith("hub:")):
        columns = f"{spec.corpus.query_column} and {spec.corpus.text_column}"
        yield f"[corpus] texts = 'pairs' reads files with the columns {columns}, got source {spec.corpus.source!r}"


def labelled_texts(spec: StudySpec) -> Problems:
    corpus = spec.corpus
    if corpus.label_column is None:
        return
    if corpus.texts != "single":
        yield f"[corpus] label_column: a label is of a text as it is: texts = 'single', got {corpus.texts!r}"
    if corpus.source == "docs" or corpus.source.startswith("hub:"):
        yield f"[corpus] label_column: labels are read of files, got source {corpus.source!r}"
    for key in ("near_duplicates", "queries"):
        if getattr(corpus, key) is not None:
            yield f"[corpus] {key}: texts with labels are read as they are; leave it out"


def named_corpus(spec: StudySpec) -> Problems:
    for source in filter(None, (spec.corpus.source, spec.corpus.queries, spec.corpus.supplement)):
        yield from _named_hub_source(source)
        yield from _named_bucket(source)


def named_task_source(task: TaskSpec) -> Problems:
    yield from _named_hub_source(task.source)
    yield from (f"[[tasks]] {task.name} source {line}" for line in _named_bucket(task.source))


def fitting_metric(task: TaskSpec) -> Problems:
    yield from (f"[[tasks]] {task.name} {problem}" for problem in task_problems(task))


def _named_hub_source(source: str) -> Problems:
    if source == "hub:":
        yield f"{source!r} names no data set: write hub:name or hub:name/subset"


def _named_bucket(source: str) -> Problems:
    if source.endswith("://"):
        yield f"{source!r} names no bucket: write {source}bucket/folder"


def measured_length_fits(spec: StudySpec, teacher: TeacherFacts) -> Problems:
    yield from _fits("[latency] sequence_length", spec.latency.sequence_length, teacher)


def task_length_fits(task: TaskSpec, teacher: TeacherFacts) -> Problems:
    yield from _fits(f"[[tasks]] {task.name} max_length", task.max_length, teacher)


def _fits(where: str, length: int, teacher: TeacherFacts) -> Problems:
    if length > teacher.max_positions:
        yield (
            f"{where} must not exceed the {teacher.max_positions} positions of teacher {teacher.name!r}, got {length}"
        )


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
    limits_without_a_comparison,
    cost_needs_a_price,
    inheritance_in_searches,
    schedule_needs_a_model,
    near_duplicates_of_texts,
    labelled_texts,
    what_fits_packed_blocks,
    pairs_of_files,
    named_corpus,
    *DEPLOY_RULES,
)
"""Rules on (spec)."""
TASK_RULES = (named_task_source, fitting_metric)
"""Rules on (task), for each."""
TEACHER_RULES = (measured_length_fits,)
"""Rules on (spec, teacher)."""
TASK_TEACHER_RULES = (task_length_fits,)
"""Rules on (task, teacher), for each."""
