"""What a spec would run, in lines for a person."""

import dataclasses

from search.phases.data import told
from search.proposals.rungs import rung_tokens
from search.spec.checks import Study
from search.spec.sections import StudySpec
from spaces.records.data import DataFacts, sizes_text
from spaces.space.comparison import count_trials
from spaces.space.search_space import SearchSpace
from trainables.tasks.spec import protocol_for


def describe(study: Study, data: DataFacts) -> list[str]:
    """What a study would run, in lines for a person: `data` is what was seen of corpus and tasks."""
    spec, space, facts = study.spec, study.space, study.teacher
    tokens = spec.budget.trials * spec.budget.train_tokens
    shapes = {each for students in space.feasible.values() for each in students}
    axes = ", ".join(f"{name} {line}" for name, line in space.to_table().items())
    cluster = dataclasses.asdict(spec.cluster)
    cluster["concurrent_trials"] = spec.cluster.concurrent_trials or "as many as fit"
    tasks = [
        f"{task.name}: {task.kind} by {protocol_for(task.kind, spec.evaluation.protocol)}"
        + (f"; {sizes_text(data.tasks[task.name])}" if task.name in data.tasks else "")
        for task in spec.tasks
    ]
    head = "with" if facts.has_lm_head else "without"
    limits = ", ".join(f"{name} {limit:,.10g}" for name, limit in spec.search.constraints.items())
    return [
        f"study    {spec.name}, seed {spec.seed}",
        f"teacher  {facts.name}: {facts.family.name} {facts.architecture.name}, {head} LM head",
        f"space    {len(shapes)} shapes; {axes}",
        f"search   {_search(spec, space)} for {', '.join(spec.search.objectives)}; limits: {limits or 'none'}",
        f"budget   {spec.budget.trials} trials x {spec.budget.train_tokens:,} tokens = {tokens:,} tokens",
        f"rungs    {_rungs(spec)}",
        *(f"task     {task}" for task in tasks),
        f"cluster  {', '.join(f'{name} {value}' for name, value in cluster.items())}",
        *told(data),
    ]


def _search(spec: StudySpec, space: SearchSpace) -> str:
    if spec.comparison.seeds is None:
        return spec.search.sampler
    tuning, compared = count_trials(space, spec.comparison.seeds)
    return f"comparison with {spec.comparison.seeds} seeds: {tuning} trials to choose learning rates, then {compared}"


def _rungs(spec: StudySpec) -> str:
    rungs = spec.rungs
    tokens = rung_tokens(rungs.first_tokens, rungs.factor, spec.budget.train_tokens)
    if not tokens:
        return "none: every trial trains its whole budget"
    share = f"the best 1/{rungs.factor} and the first {rungs.protected} of each method go on"
    return f"after {', '.join(f'{each:,}' for each in tokens)} tokens {share}"
