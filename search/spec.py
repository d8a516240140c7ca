"""The study spec: TOML in, frozen and checked values out, and back to TOML beside the results.

Every problem is collected before anything is raised, so that a spec is corrected once. What stands under each field here is what
`stillhouse check --explain` prints. The axes of `[space]` belong to `spaces.search_space`, which is asked as soon as the teacher is known.
"""

import copy
import dataclasses
import hashlib
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from spaces.architecture import TeacherFacts
from spaces.errors import SpecError, nearest
from spaces.records import OBJECTIVES
from spaces.search_space import SearchSpace

SAMPLERS = ("tpe", "nsga2", "random", "grid")
NO_IDENTITY = ("cluster", "budget.trials", "name", "training.checkpoint_every_s")
"""What may change between the runs of one study: where it runs and how long, never what a trial is."""


def setting(doc: str, default: Any = dataclasses.MISSING, **rules: Any) -> Any:
    """A documented field; rules are `at_least`, `above`, `below`, `choices`."""
    metadata = {"doc": doc, **rules}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TeacherSection:
    path: str = setting("model folder, hub id, or package:module/path")


@dataclass(frozen=True)
class CorpusSection:
    source: str = setting("'docs', a file or folder of text, or hub:name")
    text_column: str = setting("the column that holds the text", "text")
    subset: str | None = setting("the configuration of a hub data set", None)
    sequence_length: int = setting("tokens per block", 128, at_least=8)
    max_tokens: int | None = setting("use no more than this many tokens of the corpus", None, at_least=1)


@dataclass(frozen=True)
class BudgetSection:
    trials: int = setting("trials to run; duplicates and infeasible draws do not count", 20, at_least=1)
    train_tokens: int = setting("tokens every trial trains on", 1_000_000, at_least=1)


@dataclass(frozen=True)
class TrainingSection:
    weight_decay: float = setting("AdamW weight decay", 0.01, at_least=0)
    warmup_fraction: float = setting("share of the steps with rising learning rate", 0.1, at_least=0, below=1)
    gradient_clip: float = setting("gradient norm is cut to this", 1.0, above=0)
    mask_fraction: float = setting("share of tokens masked for od and mlm", 0.15, above=0, below=1)
    precision: str = setting("arithmetic of the training steps", "auto", choices=("auto", "fp32", "bf16"))
    gradient_accumulation: int = setting("micro-batches per step", 1, at_least=1)
    teacher_precision: str = setting("arithmetic of the teacher's forward pass", "auto", choices=("auto", "fp32", "bf16"))
    checkpoint_every_s: float = setting("seconds between two checkpoints of a running trial", 60.0, above=0)


@dataclass(frozen=True)
class TaskSection:
    name: str = setting("short name; becomes score_<name>")
    source: str = setting("folder or file stem with train/dev/test, hub:glue/sst2, or docs:package")
    kind: str = setting("what is predicted", choices=("classification", "pair_classification", "regression"))
    max_train: int | None = setting("use at most this many training examples", None, at_least=2)
    max_dev: int | None = setting("use at most this many development examples", None, at_least=2)
    max_test: int | None = setting("use at most this many test examples", None, at_least=2)
    text_column: str = setting("column of the text", "text")
    text2_column: str = setting("column of the second text of a pair", "text2")
    label_column: str = setting("column of the label or target", "label")
    max_length: int = setting("tokens kept of an example", 128, at_least=4)
    metric: str | None = setting("accuracy, f1, matthews or spearman; unset: accuracy, or spearman for regression", None)


@dataclass(frozen=True)
class EvaluationSection:
    protocol: str = setting("how a student is scored", "probe", choices=("probe", "finetune"))
    floor_seeds: int = setting("untrained encoders whose mean score is the floor", 3, at_least=1)


@dataclass(frozen=True)
class SearchSection:
    sampler: str = setting("how configurations are chosen", "tpe", choices=SAMPLERS)
    objectives: tuple[str, ...] = setting("what is optimised; quality and at least one cost", ("quality", "parameters"))
    constraints: dict[str, float] = setting("upper limits on costs, such as { latency_ms = 4.0 }", {})


@dataclass(frozen=True)
class ClusterSection:
    concurrent_trials: int = setting("trials that run at the same time", 1, at_least=1)
    workers_per_trial: int = setting("data-parallel workers of one trial", 1, at_least=1)
    cpus_per_worker: int = setting("CPUs (and threads) of one worker", 1, at_least=1)
    gpus_per_worker: float = setting("GPUs of one worker", 0.0, at_least=0)


@dataclass(frozen=True)
class LatencySection:
    device: str = setting("where latency is measured", "cpu", choices=("cpu", "cuda"))
    threads: int = setting("threads of the measurement", 1, at_least=1)
    batch_size: int = setting("texts at a time", 1, at_least=1)
    sequence_length: int = setting("tokens of each text", 128, at_least=1)


@dataclass(frozen=True)
class StudySpec:
    """One study, as written in a TOML file."""

    name: str
    seed: int
    teacher: TeacherSection
    corpus: CorpusSection
    budget: BudgetSection
    training: TrainingSection
    space: dict[str, Any]
    tasks: tuple[TaskSection, ...]
    evaluation: EvaluationSection
    search: SearchSection
    cluster: ClusterSection
    latency: LatencySection


SECTIONS: dict[str, type] = {
    "teacher": TeacherSection,
    "corpus": CorpusSection,
    "budget": BudgetSection,
    "training": TrainingSection,
    "evaluation": EvaluationSection,
    "search": SearchSection,
    "cluster": ClusterSection,
    "latency": LatencySection,
}
TOP_LEVEL = ("name", "seed", "space", "tasks", *SECTIONS)


def load_table(path: str | Path) -> tuple[dict[str, Any], Path]:
    """The raw TOML table and the folder that its relative paths start from."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError([f"there is no spec file {str(path)!r}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([f"cannot be read: {error}"], source=str(path)) from None
    try:
        return tomllib.loads(text), path.resolve().parent
    except tomllib.TOMLDecodeError as error:
        raise SpecError([f"is not valid TOML: {error}"], source=str(path)) from None


def read_spec(table: Mapping[str, Any], folder: Path, source: str | None = None) -> StudySpec:
    """Check all sections and resolve relative paths against `folder`; `[space]` is checked by `open_space`."""
    spec, problems = _parse(table, folder, source)
    if problems or spec is None:
        raise SpecError(problems, source=source)
    return spec


def check_all(table: Mapping[str, Any], folder: Path, source: str | None, read_facts: Any) -> tuple[StudySpec, SearchSpace, TeacherFacts]:
    """The spec, its space and its teacher, or one SpecError with the problems of all three. `read_facts(path)` describes a teacher."""
    spec, problems = _parse(table, folder, source)
    facts, space = None, None
    teacher = table.get("teacher")
    path = teacher.get("path") if isinstance(teacher, Mapping) else None
    if isinstance(path, str) and not any(p.startswith("[teacher]") for p in problems):
        try:
            facts = read_facts(_resolve_teacher(path, folder, []))
        except SpecError as error:
            problems += [p if p.startswith("[") else f"[teacher] {p}" for p in error.problems]
    axes = table.get("space")
    if facts is not None and isinstance(axes, Mapping):
        corpus = table.get("corpus")
        length = corpus.get("sequence_length", 128) if isinstance(corpus, Mapping) else 128
        length = length if isinstance(length, int) and not isinstance(length, bool) else 128
        try:
            space = SearchSpace.from_table(dict(axes), facts, length)
        except SpecError as error:
            problems += [p if p.startswith("[") else f"[space] {p}" for p in error.problems]
        if spec is not None:
            problems += _against_teacher(spec, facts)
    if spec is not None and space is not None:
        problems += _against_space(spec, space)
    if problems or spec is None or space is None or facts is None:
        raise SpecError(problems, source=source)
    return dataclasses.replace(spec, space=space.to_table()), space, facts


def to_table(spec: StudySpec) -> dict[str, Any]:
    """The resolved spec as a plain table, without the fields that are unset."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: plain(v) for k, v in value.items() if v is not None}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        return value

    return plain(dataclasses.asdict(spec))


def to_toml(spec: StudySpec) -> str:
    """The resolved spec as TOML that `read_spec` accepts again."""
    return tomli_w.dumps(to_table(spec))


def differences(stored: StudySpec, wanted: StudySpec) -> list[str]:
    """Every setting that makes two specs different studies, as `key: stored there, wanted here`."""
    left, right = _identity(stored), _identity(wanted)
    return [
        f"{key}: {_show(left.get(key))} in the study, {_show(right.get(key))} in the spec"
        for key in sorted(set(left) | set(right))
        if left.get(key) != right.get(key)
    ]


def spec_digest(spec: StudySpec) -> str:
    """Equal for specs whose trials are comparable and may share a folder."""
    return hashlib.sha256(json.dumps(_identity(spec), sort_keys=True).encode()).hexdigest()[:16]


def explain() -> str:
    """Every section and key with its default and meaning, as commented TOML."""
    lines = ['name = "..."   # default: the file name', "seed = 0       # of the sampler and of every trial"]
    for title, section in {**SECTIONS, "tasks": TaskSection}.items():
        lines += ["", f"[[{title}]]" if title == "tasks" else f"[{title}]"]
        for field in dataclasses.fields(section):
            default = _default_of(field)
            shown = "(required)" if default is dataclasses.MISSING else "(unset)" if default is None else _show(default)
            choices = field.metadata.get("choices")
            tail = f"; one of {', '.join(choices)}" if choices else ""
            lines.append(f"{field.name} = {shown}".ljust(36) + f"# {field.metadata['doc']}{tail}")
    return "\n".join(lines) + "\n"


def _identity(spec: StudySpec) -> dict[str, Any]:
    table = copy.deepcopy(to_table(spec))
    flat: dict[str, Any] = {}
    for section, value in table.items():
        if isinstance(value, dict):
            flat |= {f"{section}.{key}": v for key, v in value.items()}
        else:
            flat[section] = value
    return {k: v for k, v in flat.items() if k not in NO_IDENTITY and k.partition(".")[0] not in NO_IDENTITY}


def _show(value: Any) -> str:
    return "nothing" if value is None else json.dumps(list(value) if isinstance(value, tuple) else value)


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _parse(table: Mapping[str, Any], folder: Path, source: str | None) -> tuple[StudySpec | None, list[str]]:
    problems: list[str] = []
    for key in table:
        if key not in TOP_LEVEL:
            problems.append(f"unknown section or key {key!r}.{nearest(key, TOP_LEVEL)} Known: {', '.join(TOP_LEVEL)}")
    values: dict[str, Any] = {
        "name": table.get("name", Path(source).stem if source else "study"),
        "seed": table.get("seed", 0),
        "space": table.get("space", {}),
    }
    if not isinstance(values["name"], str) or not values["name"].strip():
        problems.append(f"name: must be a text, got {values['name']!r}")
    if not _is_int(values["seed"]) or not 0 <= values["seed"] < 2**31:
        problems.append(f"seed: must be a whole number from 0 to 2147483647, got {values['seed']!r}")
    if not isinstance(values["space"], dict):
        problems.append(f"[space] must be a table, got {values['space']!r}")
    for title, section in SECTIONS.items():
        values[title] = _read_section(f"[{title}]", section, table.get(title, {}), problems)
    values["tasks"] = _read_tasks(table.get("tasks", []), problems)
    if problems:
        return None, problems
    spec = StudySpec(**values)
    problems += _cross_rules(spec)
    spec = dataclasses.replace(
        spec,
        teacher=TeacherSection(_resolve_teacher(spec.teacher.path, folder, problems)),
        corpus=dataclasses.replace(spec.corpus, source=_resolve_source(spec.corpus.source, folder)),
        tasks=tuple(dataclasses.replace(t, source=_resolve_source(t.source, folder)) for t in spec.tasks),
    )
    return spec, problems


def _read_tasks(entries: Any, problems: list[str]) -> tuple[Any, ...]:
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        problems.append("[[tasks]] must be written with double brackets, one block per task")
        return ()
    if not entries:
        problems.append("[[tasks]]: at least one task is needed, since trials are compared by their task scores")
    tasks = [_read_section(f"[[tasks]] {e.get('name', f'number {i + 1}')}", TaskSection, e, problems) for i, e in enumerate(entries)]
    names = [e.get("name") for e in entries]
    for name in sorted({n for n in names if isinstance(n, str) and names.count(n) > 1}):
        problems.append(f"[[tasks]] {name}: the name is used {names.count(name)} times")
    for name in names:
        if isinstance(name, str) and not name.replace("_", "").replace("-", "").isalnum():
            problems.append(f"[[tasks]] {name}: name may hold letters, digits, - and _ only, since it becomes a column")
    return tuple(tasks)


def _read_section(title: str, section: type, table: Any, problems: list[str]) -> Any:
    if not isinstance(table, dict):
        problems.append(f"{title} must be a table, got {table!r}")
        return None
    fields = {f.name: f for f in dataclasses.fields(section)}
    hints = typing.get_type_hints(section)
    for key in table:
        if key not in fields:
            problems.append(f"{title} unknown key {key!r}.{nearest(key, list(fields))} Known: {', '.join(fields)}")
    values = {}
    for name, field in fields.items():
        default = _default_of(field)
        if name in table:
            values[name] = _read_value(f"{title} {name}", hints[name], field.metadata, table[name], problems)
        elif default is dataclasses.MISSING:
            problems.append(f"{title} {name} is required: {field.metadata['doc']}")
            values[name] = None
        else:
            values[name] = default
    return section(**values)


def _read_value(where: str, hint: Any, rules: Mapping[str, Any], value: Any, problems: list[str]) -> Any:
    if isinstance(hint, types.UnionType):
        hint = next(arm for arm in typing.get_args(hint) if arm is not type(None))
    if hint == tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            return tuple(value)
        problems.append(f"{where} must be a list of texts, got {value!r}")
        return ()
    if hint == dict[str, float]:
        if isinstance(value, dict) and all(_is_number(v) for v in value.values()):
            return dict(value)
        problems.append(f"{where} must be a table of numbers, got {value!r}")
        return {}
    fits = {str: lambda v: isinstance(v, str) and v != "", int: _is_int, float: _is_number, bool: lambda v: isinstance(v, bool)}
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    if not fits[hint](value):
        problems.append(f"{where} must be {names[hint]}, got {value!r}")
        return value
    if "at_least" in rules and value < rules["at_least"]:
        problems.append(f"{where} must be at least {rules['at_least']}, got {value!r}")
    if "above" in rules and value <= rules["above"]:
        problems.append(f"{where} must be above {rules['above']}, got {value!r}")
    if "below" in rules and value >= rules["below"]:
        problems.append(f"{where} must be below {rules['below']}, got {value!r}")
    if "choices" in rules and value not in rules["choices"]:
        problems.append(f"{where}: unknown {value!r}.{nearest(value, rules['choices'])} Known: {', '.join(rules['choices'])}")
    return float(value) if hint is float else value


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


def _cross_rules(spec: StudySpec) -> list[str]:
    problems = []
    objectives = spec.search.objectives
    for name in [*objectives, *spec.search.constraints]:
        if name not in OBJECTIVES:
            problems.append(f"[search] unknown objective {name!r}.{nearest(name, list(OBJECTIVES))} Known: {', '.join(OBJECTIVES)}")
    if "quality" not in objectives:
        problems.append(f"[search] objectives must hold 'quality', got {list(objectives)}")
    if len(set(objectives)) < len(objectives):
        problems.append(f"[search] objectives names one twice: {list(objectives)}")
    for name, limit in spec.search.constraints.items():
        if name in OBJECTIVES and OBJECTIVES[name].direction == "max":
            problems.append(f"[search] constraints are upper limits on costs; {name!r} is not a cost")
        if limit <= 0:
            problems.append(f"[search] constraints.{name} must be above 0, got {limit!r}")
    gpus = spec.cluster.gpus_per_worker
    if gpus > 1 and gpus != int(gpus):
        problems.append(f"[cluster] gpus_per_worker must be a whole number or a share below 1, got {gpus!r}")
    if spec.cluster.workers_per_trial > 1 and 0 < gpus < 1:
        problems.append(f"[cluster] gpus_per_worker must be 1 or more with several workers per trial (NCCL wants a device each), got {gpus!r}")
    for folder in (spec.corpus.source, *(t.source for t in spec.tasks)):
        if folder.startswith("hub:") and not folder.removeprefix("hub:"):
            problems.append(f"{folder!r} names no data set: write hub:name or hub:name/subset")
    return problems


def _against_teacher(spec: StudySpec, facts: TeacherFacts) -> list[str]:
    problems = []
    limit = facts.max_positions
    named = {"[latency] sequence_length": spec.latency.sequence_length}
    named |= {f"[[tasks]] {t.name} max_length": t.max_length for t in spec.tasks}
    for where, length in named.items():
        if length > limit:
            problems.append(f"{where} must not exceed the {limit} positions of teacher {facts.name!r}, got {length}")
    return problems


def _against_space(spec: StudySpec, space: SearchSpace) -> list[str]:
    problems = []
    shares = spec.cluster.workers_per_trial * spec.training.gradient_accumulation
    for size in space.to_table().get("batch_size", []):
        if size % shares:
            problems.append(
                f"[space] batch_size {size} is not a multiple of {shares} (workers_per_trial {spec.cluster.workers_per_trial}"
                f" x gradient_accumulation {spec.training.gradient_accumulation}); nearest: {max(shares, round(size / shares) * shares)}"
            )
        if size * spec.corpus.sequence_length > spec.budget.train_tokens:
            problems.append(
                f"[budget] train_tokens {spec.budget.train_tokens} is less than one batch of {size} x {spec.corpus.sequence_length} tokens"
            )
    if spec.search.sampler == "grid":
        try:
            next(iter(space.enumerate()), None)
        except SpecError as error:
            problems += [f"[search] sampler 'grid': {p}" for p in error.problems]
    return problems


def _resolve_teacher(path: str, folder: Path, problems: list[str]) -> str:
    if path.startswith("package:") or "://" in path:
        return path
    local = folder / Path(path).expanduser()
    if local.exists():
        return str(local.resolve())
    if path.startswith((".", "/", "~")):
        problems.append(f"[teacher] path: there is no folder {str(local)!r}")
    return path


def _resolve_source(source: str, folder: Path) -> str:
    if source.split(":", 1)[0] in ("docs", "hub", "package") or "://" in source:
        return source
    return str((folder / Path(source).expanduser()).resolve())
