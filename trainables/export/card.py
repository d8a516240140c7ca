"""The card of an exported student, README.md with the hub's YAML header, and its recipe, recipe.json."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from spaces.records.costs import columns_of_costs
from spaces.records.runtimes import RUNTIMES, maps_in_float
from spaces.records.schemas import Column
from spaces.records.shares import NORMAL_95, WEAK, Gap, mean_error, mean_share
from spaces.students.transfer import UNTRAINED
from trainables.export.facts import ArtefactFacts, ScoreFacts, StudentFacts, jsonable
from trainables.export.markdown import cell, is_number, plain, table
from trainables.tasks.kinds import KINDS

SCORE_COLUMNS = {
    "split": "split",
    "protocol": "protocol",
    "metric": "metric",
    "examples": "examples",
    "weight": "weight",
    "score": "student",
    "teacher": "teacher",
    "floor": "untrained",
    "recovered": "of the gap (95 %)",
    "layer": "probe layer",
}
SAME = 1e-5
"""Largest difference between embeddings of length 1 that are called the same."""
ORIGIN = {
    "study": "study",
    "teacher": "teacher",
    "tokenizer": "tokenizer of",
    "corpus": "data",
    "method": "method",
    "train_tokens": "tokens trained on",
    "seed": "seed",
    "num_trials": "trials in the study",
}


def card_text(facts: StudentFacts) -> str:
    """README.md: the hub's metadata, how to load the student, what it scores, what it costs, where it comes from."""
    blocks = [
        header(facts),
        f"# {plain(facts.name or 'Distilled student')}",
        introduction(facts),
        "## Use",
        usage(facts),
    ]
    if facts.artefact is not None:
        blocks += [
            f"## {RUNTIMES[facts.artefact.runtime].title}",
            artefact_text(facts.artefact),
            agreement_text(facts.artefact),
        ]
    if facts.scores:
        blocks += ["## Scores", scores_table(facts.scores), layers_note(facts.scores)]
    if costs := rows_of({column.name: cost_title(column) for column in columns_of_costs()}, facts.costs):
        blocks += ["## Cost", table(["", ""], costs), measured_where(facts)]
    if origin := rows_of(ORIGIN, vars(facts)):
        blocks += ["## Origin", table(["", ""], origin)]
    if facts.config:
        axes = [[name, cell(value)] for name, value in facts.config.items()]
        blocks += ["Configuration of the trial:", table(["axis", "value"], axes)]
    blocks.append("recipe.json holds the complete recipe, to run it again.")
    return "\n\n".join(block for block in blocks if block) + "\n"


def recipe_text(facts: StudentFacts) -> str:
    """recipe.json: the values as they are; a number that is not finite becomes null."""
    return json.dumps({"format": 1, "made_with": "stillhouse", **facts.recipe()}, indent=2, allow_nan=False) + "\n"


def header(facts: StudentFacts) -> str:
    """The YAML block; every value is written as JSON, which YAML reads and which no text can break out of."""
    values: dict[str, Any] = {"library_name": "transformers"}
    values["pipeline_tag"] = "fill-mask" if facts.masked_lm else "feature-extraction"
    if facts.scores_pairs:
        values["pipeline_tag"] = "text-ranking"
    if facts.classes:
        values["pipeline_tag"] = "text-classification"
    values["tags"] = ["distillation", "stillhouse", "sentence-transformers", *filter(None, [facts.model_type])]
    for key, value in (
        ("base_model", facts.teacher_hub_id), ("language", facts.language), ("license", facts.license)
    ):  # fmt: skip
        if value:
            values[key] = value
    if results := evaluations(facts):
        values["model-index"] = [{"name": facts.name or "student", "results": results}]
    return "\n".join(["---", *(f"{key}: {json.dumps(jsonable(value))}" for key, value in values.items()), "---"])


def evaluations(facts: StudentFacts) -> list[dict[str, Any]]:
    """The scores as the hub's model index has them (huggingface_hub.EvalResult)."""
    found = []
    for task, row in facts.scores.items():
        if not is_number(row.score):
            continue
        kind = KINDS.get(row.kind or "")
        how = f"{row.metric}, {row.protocol}" if row.protocol else row.metric
        found.append(
            {
                "task": {"type": kind.hub_task if kind else "text-classification", "name": task},
                "dataset": {
                    "name": task, "type": re.sub(r"[^\w.-]+", "-", task).strip("-.") or "task", "split": row.split
                },
                "metrics": [{"type": row.metric, "value": row.score, "name": how}],
            }
        )  # fmt: skip
    return found


def introduction(facts: StudentFacts) -> str:
    """What this is, and its place among the others."""
    made_from = facts.teacher_hub_id if facts.teacher_hub_id != facts.teacher else None
    teacher = f" of {plain(facts.teacher)}" if facts.teacher else ""
    teacher += f" (from {plain(made_from)})" if teacher and made_from else ""
    lines = [f"A small Transformer encoder, distilled as a student{teacher}."]
    if facts.train_tokens == 0:
        lines = [
            f"A small Transformer encoder, cut out{teacher} and not trained"
            f"{'' if facts.method == UNTRAINED else ': training did not raise its dev quality'}."
        ]
    if facts.quality is not None and is_number(facts.quality):
        lines += filter(None, [recovery(facts, facts.quality), tested(facts), scored_as(facts)])
    if facts.front:
        lines.append(plain(facts.front))
    if not facts.weights:
        lines.append("This folder holds the configuration and the recipe, no weights.")
    return " ".join(lines)


def recovery(facts: StudentFacts, quality: float) -> str:
    """What is recovered of the teacher's gain, as far as it is known: over the seeds of the configuration first."""
    known = facts.confirmed
    weighted = any(row.weight is not None for row in facts.scores.values())
    over = f"a {'weighted ' * weighted}mean over tasks on the dev splits"
    what = f"of what the teacher scores above an untrained encoder (quality, {over})"
    if known is None:
        interval = within(*reach) if (reach := mean_of(facts, "dev")) else ""
    else:
        interval = "" if known.low is None or known.high is None else within(known.low, known.high)
    if known is not None and known.seeds > 1:
        return (
            f"Its configuration recovers {100 * known.quality:.0f} %{interval} {what}: the mean of {known.seeds} "
            f"seeds. These weights are of seed {facts.seed}, with {100 * quality:.0f} %."
        )
    told = (known is not None and known.noise_known) or facts.train_tokens == 0
    noise = "" if told else " It was trained with one seed; what another would give is not known."
    mean = quality if known is None else known.quality
    return f"It recovers {100 * mean:.0f} %{interval} {what}.{noise}"


def tested(facts: StudentFacts) -> str:
    """The same mean on the test splits, where all tasks were scored on theirs."""
    ends = mean_of(facts, "test")
    if ends is None:
        return ""
    whose = "these weights recover" if facts.torch_quality is None else "the file of these weights recovers"
    return f"On the test splits {whose} {50 * sum(ends):.0f} %{within(*ends)}."


def mean_of(facts: StudentFacts, split: str) -> tuple[float, float] | None:
    """Ends of the 95 % interval of quality on a split, by the numbers of examples; None unless all tasks tell it."""
    known = {
        task: (row.recovered, gap.share_error(row.score))
        for task, row in facts.scores.items()
        if row.split == split and row.recovered is not None and row.score is not None and (gap := row.gap) is not None
    }
    if not known or len(known) < len(facts.scores):
        return None
    weights = {task: row.weight for task, row in facts.scores.items() if row.weight is not None}
    mean = mean_share({task: share for task, (share, _) in known.items()}, weights)
    reach = NORMAL_95 * mean_error({task: error for task, (_, error) in known.items()}, weights)
    return mean - reach, mean + reach


def within(low: float, high: float) -> str:
    """' (95 % interval 26 to 66 %)'; '' where it is not known."""
    return f" (95 % interval {100 * low:.0f} to {100 * high:.0f} %)" if low == low else ""


def scored_as(facts: StudentFacts) -> str:
    """What these scores and costs are of, where it is not the weights beside them."""
    if not facts.deploy:
        return ""
    if facts.torch_quality is None:
        return f"Costs are those of its file for {plain(facts.deploy)}; scores are of the weights in torch."
    own = f"with the weights in torch it recovers {100 * facts.torch_quality:.0f} % on the dev splits"
    return f"Scores and costs are those of its file for {plain(facts.deploy)}; {own}."


def usage(facts: StudentFacts) -> str:
    """Lines that work as they stand: as an encoder, and as a model of embeddings, or of scores."""
    kind = "AutoModelForMaskedLM" if facts.masked_lm else "AutoModel"
    kind = "AutoModelForSequenceClassification" if facts.scores_pairs or facts.classes else kind
    texts = '"A query.", "A text that may answer it."' if facts.scores_pairs else '"A text."'
    names, load = kind, "from_pretrained(folder)"
    if not facts.weights:
        names, load = f"AutoConfig, {kind}", "from_config(AutoConfig.from_pretrained(folder))"
    embedding = [
        "As a model of embeddings:",
        "",
        "```python",
        "from sentence_transformers import SentenceTransformer",
        'embedder = SentenceTransformer(".")  # this folder, or its name on the hub',
        'vectors = embedder.encode(["A text.", "Another one."])',
        "```",
    ]
    if facts.scores_pairs:
        embedding = [
            "As a reranker:",
            "",
            "```python",
            "from sentence_transformers import CrossEncoder",
            'reranker = CrossEncoder(".")  # this folder, or its name on the hub',
            'scores = reranker.predict([("A query.", "A text that may answer it."), ("A query.", "Another one.")])',
            "```",
        ]
    classifier = [
        f"As a classifier of {len(facts.classes)} classes:",
        "",
        "```python",
        "from transformers import pipeline",
        'classifier = pipeline("text-classification", model=".")  # this folder, or its name on the hub',
        'labels = classifier(["A text.", "Another one."])',
        "```",
        "",
    ]
    if facts.classes:
        embedding = [*classifier, *embedding]
    return "\n".join(
        [
            "```python",
            f"from transformers import {names}, AutoTokenizer",
            'folder = "."  # this folder, or its name on the hub',
            f"tokenizer, model = AutoTokenizer.from_pretrained(folder), {kind}.{load}",
            f'output = model(**tokenizer({texts}, return_tensors="pt"))',
            "```",
            *(["", *embedding] if facts.weights else []),
        ]
    )


def artefact_text(artefact: ArtefactFacts) -> str:
    """What the file for another runtime is, how to run it, and how far it is from the student in torch."""
    runtime, moves = RUNTIMES[artefact.runtime], artefact.batch_difference
    batch = "is the same in any batch" if moves <= SAME else f"moves by up to {cell(moves)} with its batch"
    opset = "" if artefact.opset is None else f", opset {artefact.opset}"
    fused = f"{artefact.fused_attentions} of {artefact.attentions} attentions are one operator. "
    fused = "" if artefact.fused_attentions is None else fused
    count = maps_in_float(artefact.precision)
    kept = f"Of its maps {count}, or all, are in float: those whose rounding moves embeddings most. " if count else ""
    return (
        f"`{artefact.file}` ({plain(artefact.precision)}, {cell(artefact.megabytes)} MB{opset}) runs "
        f"with {runtime.engine}; `{runtime.example}` needs nothing else but tokenizers. {runtime.loaded_by}. "
        f"{kept}{fused}On {artefact.texts} held-out texts its embeddings have a "
        f"mean cosine of {artefact.cosine:.4f} to those of the weights beside it, {artefact.lowest_cosine:.4f} at the "
        f"least; the embedding of a text {batch}."
        + ("" if artefact.same_class is None else f" {artefact.same_class:.1%} of them are of the same class to both.")
    )


def agreement_text(artefact: ArtefactFacts) -> str:
    """The scores of the file beside those of the weights; '' where nothing was scored."""
    if not artefact.scores:
        return ""
    rows = [
        [plain(task), plain(each.metric), cell(each.weights), cell(each.file)] for task, each in artefact.scores.items()
    ]
    return "\n\n".join(
        ["Dev scores of both, by the same probes:", table(["task", "metric", "weights in torch", "file"], rows)]
    )


def scores_table(scores: Mapping[str, ScoreFacts]) -> str:
    """One row per task, with the columns that any of them has."""
    known = {name for row in scores.values() for name, value in vars(row).items() if value is not None}
    columns = {name: title for name, title in SCORE_COLUMNS.items() if name in known}
    weak = {task: gap for task, row in scores.items() if (gap := row.gap) is not None and gap.is_weak}
    rows = [
        [
            plain(task) + (f" {plain(WEAK)}" if task in weak else ""),
            *(share_cell(row, row.gap) if name == "recovered" else cell(getattr(row, name)) for name in columns),
        ]
        for task, row in scores.items()
    ]
    notes = [f"{plain(WEAK)} {plain(gap.told(task, scores[task].split))}." for task, gap in weak.items()]
    return "\n\n".join([table(["task", *columns.values()], rows), *notes])


def share_cell(row: ScoreFacts, gap: Gap | None) -> str:
    """'86 % (69 to 103 %)': a share with its 95 % interval, as far as the number of examples tells it."""
    if row.recovered is None or row.score is None or not is_number(row.recovered):
        return ""
    share, reach = row.recovered, float("nan") if gap is None else NORMAL_95 * gap.share_error(row.score)
    interval = f" ({100 * (share - reach):.0f} to {100 * (share + reach):.0f} %)" if reach == reach else ""
    return f"{100 * share:.0f} %{interval}"


def layers_note(scores: Mapping[str, ScoreFacts]) -> str:
    """Which hidden state the probe read; the last one is not always the best one of a distilled student."""
    chosen = {task: row.layer for task, row in scores.items() if row.layer is not None}
    if not chosen:
        return ""
    listed = ", ".join(f"{plain(task)}: {layer}" for task, layer in chosen.items())
    return (
        f"Mean-pooled features of layer ({listed}) were the best for a linear probe; 0 are the embeddings. "
        "`output_hidden_states=True` gives them all."
    )


def measured_where(facts: StudentFacts) -> str:
    """The machine and the setting of the latency."""
    setting = {} if facts.latency is None else asdict(facts.latency)
    said = {name.replace("_", " "): value for name, value in setting.items() if value is not None}
    details = ", ".join(f"{name} {cell(value)}" for name, value in said.items())
    where = "; ".join(filter(None, [plain(facts.hardware or ""), details]))
    return f"Measured on: {where}." if where else ""


def cost_title(column: Column) -> str:
    """'median latency of one forward pass (ms)'."""
    return column.meaning if column.unit in column.meaning else f"{column.meaning} ({column.unit})"


def rows_of(titles: Mapping[str, str], values: Mapping[str, Any]) -> list[list[str]]:
    """Title and value of what is known."""
    return [[title, cell(values[name])] for name, title in titles.items() if values.get(name) is not None]
