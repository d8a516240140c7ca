"""What a spec would run, in lines for a person."""

from collections.abc import Mapping
from typing import Any

from search.phases.data_doors import told
from search.phases.encoders import sees_gpu
from search.phases.forecast import (
    MAX_COUNTED,
    arithmetic_text,
    count_configurations,
    disk_gb,
    family_lines,
    flops_per_s,
    hours,
    hours_text,
    shape_lines,
    traps,
)
from search.proposals.rungs import rung_tokens
from search.samplers.registry import FREEZE_THAW
from search.spec.checks import Study
from search.spec.sections import StudySpec
from spaces.records.data import DataFacts, sizes_text
from spaces.records.deploy import DeploySpec
from spaces.records.shares import weights_text
from spaces.space.comparison import count_trials
from spaces.space.search_space import SearchSpace
from trainables.tasks.spec import protocol_for


def describe(study: Study, data: DataFacts) -> list[str]:
    """What a study would run, in lines for a person: `data` is what was seen of corpus and tasks."""
    spec, space, facts = study.spec, study.space, study.teacher
    tokens = spec.budget.trials * spec.budget.train_tokens
    axes = [f"{name.replace('_', ' ')} {_values(line)}" for name, line in space.to_table().items() if name != "shape"]
    cluster = spec.cluster
    together = cluster.concurrent_trials or "as many as fit"
    workers = f"workers of a trial {cluster.workers_per_trial}, CPUs of a worker {cluster.cpus_per_worker}"
    on_cpus = not cluster.gpus_per_worker and not sees_gpu(cluster)
    gpus = "what the nodes have" if cluster.gpus_per_worker is None else f"{cluster.gpus_per_worker:g}"
    count = count_configurations(space)
    configurations = "endlessly many" if count is None else f"{count:,}{' or more' * (count == MAX_COUNTED)}"
    weighed = weights_text({task.name: task.weight for task in spec.tasks})
    tasks = [
        f"{task.name}: {task.kind} by {protocol_for(task.kind, spec.evaluation.protocol)}"
        + (f"; {sizes_text(data.tasks[task.name])}" if task.name in data.tasks else "")
        + (f"; weight {task.weight:g} in quality" if weighed else "")
        for task in spec.tasks
    ]
    head = "with" if facts.has_lm_head else "without"
    limits = ", ".join(f"{name} {limit:,.10g}" for name, limit in spec.search.constraints.items())
    also = "".join(f"; at most {text}" for text in also_limited(spec))
    return [
        f"study    {spec.name}, seed {spec.seed}",
        f"teacher  {facts.name}: {facts.family.name} {facts.architecture.name}, {head} LM head",
        *(f"space    {line}" for line in shape_lines(study)),
        *(f"family   {line}" for line in family_lines(space)),
        f"space    {configurations} configurations: {'; '.join(axes)}",
        f"search   {_search(spec, space)} for {', '.join(spec.search.objectives)}; limits: {limits or 'none'}",
        f"budget   {spec.budget.trials} trials x {spec.budget.train_tokens:,} tokens = {tokens:,} tokens{also}",
        f"rungs    {_rungs(spec)}",
        *(f"task     {task}" for task in tasks),
        *([f"deploy   {deploy_text(spec.deploy)}"] if spec.deploy.is_file else []),
        f"cluster  trials at a time {together}, {workers}, GPUs of a worker {gpus}",
        f"disk     {disk_gb(study):.2g} GB of students, at most {spec.storage.quota_gb:g}; "
        f"teacher's states at most {spec.targets.quota_gb:g} GB",
        *([f"numbers  {arithmetic_text(spec)}"] if on_cpus else []),
        *([f"time     {hours_text(hours(study, data, flops_per_s(spec)))}"] if on_cpus else []),
        *told(data),
        *(f"warning: {line}" for line in traps(study, data.corpus.row_tokens)),
    ]


def also_limited(spec: StudySpec) -> list[str]:
    """What else ends the search, in words."""
    hours, cost, price = spec.budget.hours, spec.budget.cost, spec.cluster.worker_price
    return [
        *([] if hours is None else [f"{hours:g} hours"]),
        *([] if cost is None else [f"a cost of {cost:g}, at {price or 0:g} an hour of a worker"]),
    ]


def deploy_text(deploy: DeploySpec) -> str:
    """What is scored and measured, in words."""
    scored = "scored, timed and sized" if deploy.is_scored else "scored in torch, and timed and sized"
    return f"{deploy.name}: students are {scored} as that file; teacher and floor are scored in torch"


def _values(line: Any) -> str:
    """The values of an axis for a person."""
    if isinstance(line, Mapping):
        return f"{line['low']:g} to {line['high']:g}" + " (log)" * bool(line.get("log"))
    return ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in line)


def _search(spec: StudySpec, space: SearchSpace) -> str:
    if spec.comparison.seeds is None:
        thaws = spec.search.schedule == FREEZE_THAW and spec.rungs.first_tokens is not None
        return "freeze and thaw, by a model of quality" if thaws else spec.search.sampler
    tuning, compared = count_trials(space, spec.comparison.seeds)
    return f"comparison with {spec.comparison.seeds} seeds: {tuning} trials to choose learning rates, then {compared}"


def _rungs(spec: StudySpec) -> str:
    rungs = spec.rungs
    tokens = rung_tokens(rungs.first_tokens, rungs.factor, spec.budget.train_tokens)
    if not tokens:
        return "none: every trial trains its whole budget"
    if spec.search.schedule == FREEZE_THAW:
        share = "a trial pauses while another gives more for its price"
    else:
        share = f"the best 1/{rungs.factor} and the first {rungs.protected} of each method go on"
    return f"after {', '.join(f'{each:,}' for each in tokens)} tokens {share}"
