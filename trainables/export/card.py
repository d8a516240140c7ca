"""The card of an exported student (README.md with the hub's YAML header) and its recipe (recipe.json).

Keys of `card` that are shown, all optional; whatever else is in it goes into the recipe only:
name, study, teacher, teacher_hub_id (a model of the hub: becomes base_model), language, license, corpus, method,
config (the trial's configuration), seed, train_tokens, num_trials, quality, front (its place in words), the columns of
costs (spaces/records/costs.py), hardware, latency (device, threads, batch_size, sequence_length), versions,
confirmed (what is known of the configuration over its seeds: seeds, quality, low, high, noise_known), artefact (what
export/artefact.py wrote), and
scores: {task: {kind, split, protocol, metric, examples, weight, score, teacher, floor, recovered, layer}}.
"""

import datetime
import html
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from spaces.records.costs import columns_of_costs
from spaces.records.schemas import Column
from spaces.records.shares import NORMAL_95, WEAK, Gap, mean_error, mean_share
from spaces.students.transfer import UNTRAINED
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
    "corpus": "data",
    "method": "method",
    "train_tokens": "tokens trained on",
    "seed": "seed",
    "num_trials": "trials in the study",
}


def card_text(card: Mapping[str, Any]) -> str:
    """README.md: the hub's metadata, how to load the student, what it scores, what it costs, where it comes from."""
    name = plain(card.get("name") or "Distilled student")
    blocks = [header(card), f"# {name}", introduction(card), "## Use", usage(card)]
    if artefact := card.get("artefact"):
        blocks += ["## ONNX", artefact_text(artefact)]
    if card.get("scores"):
        blocks += ["## Scores", scores_table(card["scores"]), layers_note(card["scores"])]
    if costs := rows_of({column.name: cost_title(column) for column in columns_of_costs()}, card):
        blocks += ["## Cost", table(["", ""], costs), measured_where(card)]
    if origin := rows_of(ORIGIN, card):
        blocks += ["## Origin", table(["", ""], origin)]
    if config := card.get("config"):
        blocks += ["Configuration of the trial:", table(["axis", "value"], [[k, cell(v)] for k, v in config.items()])]
    blocks.append("recipe.json holds the complete recipe, to run it again.")
    return "\n\n".join(block for block in blocks if block) + "\n"


def recipe_text(card: Mapping[str, Any]) -> str:
    """recipe.json: the card's values as they are; a number that is not finite becomes null."""
    return json.dumps({"format": 1, "made_with": "stillhouse", **jsonable(card)}, indent=2, allow_nan=False) + "\n"


def header(card: Mapping[str, Any]) -> str:
    """The YAML block; every value is written as JSON, which YAML reads and which no text can break out of."""
    values: dict[str, Any] = {"library_name": "transformers"}
    values["pipeline_tag"] = "fill-mask" if card.get("masked_lm") else "feature-extraction"
    values["tags"] = [
        "distillation",
        "stillhouse",
        "sentence-transformers",
        *([card["model_type"]] if card.get("model_type") else []),
    ]
    for key, source in (("base_model", "teacher_hub_id"), ("language", "language"), ("license", "license")):
        if card.get(source):
            values[key] = card[source]
    if results := evaluations(card):
        values["model-index"] = [{"name": str(card.get("name") or "student"), "results": results}]
    return "\n".join(["---", *(f"{key}: {json.dumps(jsonable(value))}" for key, value in values.items()), "---"])


def evaluations(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The scores as the hub's model index has them (huggingface_hub.EvalResult)."""
    found = []
    for task, row in (card.get("scores") or {}).items():
        if not is_number(row.get("score")):
            continue
        dataset = {"name": str(task), "type": re.sub(r"[^\w.-]+", "-", str(task)).strip("-.") or "task"}
        if row.get("split"):
            dataset["split"] = row["split"]
        kind = KINDS.get(row.get("kind"))
        metric = str(row.get("metric") or "score")
        how = f"{metric}, {row['protocol']}" if row.get("protocol") else metric
        found.append(
            {
                "task": {"type": kind.hub_task if kind else "text-classification", "name": str(task)},
                "dataset": dataset,
                "metrics": [{"type": metric, "value": row["score"], "name": how}],
            }
        )
    return found


def introduction(card: Mapping[str, Any]) -> str:
    """What this is, and its place among the others."""
    teacher = f" of {plain(card['teacher'])}" if card.get("teacher") else ""
    lines = [f"A small Transformer encoder, distilled as a student{teacher}."]
    if card.get("train_tokens") == 0:
        lines = [
            f"A small Transformer encoder, cut out{teacher} and not trained"
            f"{'' if card.get('method') == UNTRAINED else ': training did not raise its dev quality'}."
        ]
    if is_number(card.get("quality")):
        lines += filter(None, [recovery(card), tested(card)])
    if card.get("front"):
        lines.append(plain(card["front"]))
    if card.get("weights") is False:
        lines.append("This folder holds the configuration and the recipe, no weights.")
    return " ".join(lines)


def recovery(card: Mapping[str, Any]) -> str:
    """What is recovered of the teacher's gain, as far as it is known: over the seeds of the configuration first."""
    known = card.get("confirmed") or {}
    weighted = any(is_number(row.get("weight")) for row in (card.get("scores") or {}).values())
    over = f"a {'weighted ' * weighted}mean over tasks on the dev splits"
    what = f"of what the teacher scores above an untrained encoder (quality, {over})"
    mean = known.get("quality", card["quality"])
    reach = [f"{100 * known[end]:.0f}" for end in ("low", "high") if is_number(known.get(end))]
    interval = f" (95 % interval {reach[0]} to {reach[1]} %)" if len(reach) == 2 else ""
    if known.get("seeds", 1) > 1:
        return (
            f"Its configuration recovers {100 * mean:.0f} %{interval} {what}: the mean of {known['seeds']} seeds. "
            f"These weights are of seed {card.get('seed')}, with {100 * card['quality']:.0f} %."
        )
    told = known.get("noise_known") or card.get("train_tokens") == 0
    noise = "" if told else " It was trained with one seed; what another would give is not known."
    return f"It recovers {100 * mean:.0f} %{interval} {what}.{noise}"


def tested(card: Mapping[str, Any]) -> str:
    """The same mean on the test splits, where all tasks were scored on theirs."""
    rows = card.get("scores") or {}
    gaps = {task: gap_of(row) for task, row in rows.items() if row.get("split") == "test"}
    if not rows or any(gaps.get(task) is None or not is_number(row.get("recovered")) for task, row in rows.items()):
        return ""
    weights = {task: row["weight"] for task, row in rows.items() if is_number(row.get("weight"))}
    mean = mean_share({task: row["recovered"] for task, row in rows.items()}, weights)
    errors = {task: gap.share_error(rows[task]["score"]) for task, gap in gaps.items() if gap is not None}
    reach = NORMAL_95 * mean_error(errors, weights)
    interval = f" (95 % interval {100 * (mean - reach):.0f} to {100 * (mean + reach):.0f} %)" if reach == reach else ""
    return f"On the test splits these weights recover {100 * mean:.0f} %{interval}."


def usage(card: Mapping[str, Any]) -> str:
    """Lines that work as they stand: as an encoder, and as a model of embeddings."""
    kind = "AutoModelForMaskedLM" if card.get("masked_lm") else "AutoModel"
    names, load = kind, "from_pretrained(folder)"
    if card.get("weights") is False:
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
    return "\n".join(
        [
            "```python",
            f"from transformers import {names}, AutoTokenizer",
            'folder = "."  # this folder, or its name on the hub',
            f"tokenizer, model = AutoTokenizer.from_pretrained(folder), {kind}.{load}",
            'output = model(**tokenizer("A text.", return_tensors="pt"))',
            "```",
            *([] if card.get("weights") is False else ["", *embedding]),
        ]
    )


def artefact_text(artefact: Mapping[str, Any]) -> str:
    """What the file for onnxruntime is, how to run it, and how far it is from the student in torch."""
    difference = artefact["batch_difference"]
    batch = "is the same in any batch" if difference <= SAME else f"moves by up to {cell(difference)} with its batch"
    return (
        f"`{artefact['file']}` ({plain(artefact['precision'])}, {cell(artefact['megabytes'])} MB, opset "
        f"{artefact['opset']}) runs with onnxruntime; `onnx_example.py` needs nothing else but tokenizers. optimum "
        "loads it from here, and transformers.js looks for this name. "
        f"{artefact['fused_attentions']} of {artefact['attentions']} attentions are one operator. "
        f"On {artefact['texts']} held-out texts its embeddings have a mean cosine of "
        f"{artefact['cosine']:.4f} to those of the weights beside it, {artefact['lowest_cosine']:.4f} at the least; "
        f"the embedding of a text {batch}."
    )


def scores_table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """One row per task, with the columns that any of them has."""
    known = {key for row in scores.values() for key, value in row.items() if value is not None}
    columns = {key: title for key, title in SCORE_COLUMNS.items() if key in known}
    gaps = {task: gap_of(row) for task, row in scores.items()}
    rows = [
        [
            plain(task) + (f" {plain(WEAK)}" if (gap := gaps[task]) is not None and gap.is_weak else ""),
            *(share_cell(row, gap) if key == "recovered" else cell(row.get(key)) for key in columns),
        ]
        for task, row in scores.items()
    ]
    notes = [
        f"{plain(WEAK)} {plain(gap.told(task, str(scores[task].get('split') or 'dev')))}."
        for task, gap in gaps.items()
        if gap is not None and gap.is_weak
    ]
    return "\n\n".join([table(["task", *columns.values()], rows), *notes])


def gap_of(row: Mapping[str, Any]) -> Gap | None:
    """What the share of a task is measured by, where all of it is known."""
    if not all(is_number(row.get(key)) for key in ("teacher", "floor", "score", "examples")):
        return None
    return Gap(str(row.get("metric")), int(row["examples"]), row["teacher"], row["floor"])


def share_cell(row: Mapping[str, Any], gap: Gap | None) -> str:
    """'86 % (69 to 103 %)': a share with its 95 % interval, as far as the number of examples tells it."""
    if not is_number(row.get("recovered")):
        return ""
    share, reach = row["recovered"], float("nan") if gap is None else NORMAL_95 * gap.share_error(row["score"])
    interval = f" ({100 * (share - reach):.0f} to {100 * (share + reach):.0f} %)" if reach == reach else ""
    return f"{100 * share:.0f} %{interval}"


def layers_note(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Which hidden state the probe read; the last one is not always the best one of a distilled student."""
    chosen = {task: row["layer"] for task, row in scores.items() if row.get("layer") is not None}
    if not chosen:
        return ""
    listed = ", ".join(f"{plain(task)}: {layer}" for task, layer in chosen.items())
    return (
        f"Mean-pooled features of layer ({listed}) were the best for a linear probe; 0 are the embeddings. "
        "`output_hidden_states=True` gives them all."
    )


def measured_where(card: Mapping[str, Any]) -> str:
    """The machine and the setting of the latency."""
    setting = card.get("latency") or {}
    details = ", ".join(f"{key.replace('_', ' ')} {cell(value)}" for key, value in setting.items())
    parts = [plain(card["hardware"]) if card.get("hardware") else "", details]
    where = "; ".join(part for part in parts if part)
    return f"Measured on: {where}." if where else ""


def cost_title(column: Column) -> str:
    """'median latency of one forward pass (ms)'."""
    return column.meaning if column.unit in column.meaning else f"{column.meaning} ({column.unit})"


def rows_of(titles: Mapping[str, str], card: Mapping[str, Any]) -> list[list[str]]:
    """Title and value of the keys that the card has."""
    return [[title, cell(card[key])] for key, title in titles.items() if card.get(key) is not None]


def table(titles: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "not finite"
    return plain(value)


def plain(value: Any) -> str:
    """Text without any meaning to Markdown or HTML, on one line."""
    text = html.escape(" ".join(str(value).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text)


def is_number(value: Any) -> bool:
    """A real, finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def jsonable(value: Any) -> Any:
    """The value in terms of JSON; numpy scalars become numbers, dates become ISO texts."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"a card cannot hold {value!r} of type {type(value).__name__}")
