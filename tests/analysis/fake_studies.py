"""Study folders made of numbers alone: what analysis reads, without a trial behind it."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spaces.records.columns import reports_columns, test_scores_columns, trials_columns
from spaces.records.meta import FORMAT
from spaces.records.schemas import Column, schema
from spaces.students.architecture import SHAPES as STUDENT_SHAPES
from spaces.students.architecture import parse_shape

TASKS = {
    "package": {"kind": "classification", "metric": "accuracy", "num_train": 4000, "num_dev": 800, "num_test": 800,
                "teacher": 0.82, "floor": 0.55, "floor_seeds": [0, 1, 2], "teacher_layer": 5},
    "pairs": {"kind": "regression", "metric": "spearman", "num_train": 3000, "num_dev": 500, "num_test": 500,
              "teacher": 0.71, "floor": 0.31, "floor_seeds": [0, 1, 2], "teacher_layer": 6},
}  # fmt: skip
TEACHER = {
    "name": "all-MiniLM-L6-v2", "family": "bert", "digest": "abc",
    "architecture": {"num_layers": 6, "hidden_size": 384, "num_heads": 12, "intermediate_size": 1536},
    "vocab_size": 30522, "max_positions": 512, "type_vocab_size": 2, "has_lm_head": True,
    "costs": {"parameters": 22_565_376, "parameters_without_embeddings": 10_646_784, "flops_per_token": 22_500_000,
              "latency_p50_ms": 31.0, "latency_p95_ms": 34.0},
}  # fmt: skip
NAMED_SHAPES = {
    name: {"parameters": shape.num_layers * 12 * shape.hidden_size**2 + 31_036 * shape.hidden_size,
           "flops_per_token": shape.num_layers * 24 * shape.hidden_size**2}
    for name, shape in STUDENT_SHAPES.items()
}  # fmt: skip
META = {
    "format": FORMAT, "name": "quick", "created": "2026-01-02T03:04:05Z", "seed": 0, "space_digest": "0123456789abcdef",
    "objectives": ["quality", "parameters"], "train_tokens": 100_000, "num_trials": 40, "sampler": "tpe",
    "protocol": "probe", "teacher": TEACHER, "tasks": TASKS,
    "latency": {"device": "cpu", "threads": 1, "batch_size": 1, "sequence_length": 128},
    "named_shapes": NAMED_SHAPES, "hardware": "Some CPU, 2 cores",
    "versions": {"torch": "2.13.0", "transformers": "5.0"},
}  # fmt: skip
SHAPES = ((2, 128), (3, 192), (4, 256), (3, 384), (6, 384))
METHODS = ("mha", "hs", "od", "mha_direct")
REASONS = {"failed": "loss became NaN at step 12", "infeasible": "mapping needs at most 6 student layers, got 8"}
LOSS_SCALES = {"mha": 1, "hs": 0.2, "od": 4, "mha_direct": 2}
MAPPINGS = ("uniform", "last", "uniform_last")


def write_part(folder: Path, name: str, columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> Path:
    """One part file; what a row does not say is null."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    full = [{column.name: row.get(column.name) for column in columns} for row in rows]
    pq.write_table(pa.Table.from_pylist(full, schema=schema(columns)), path)
    return path


def finished_row(trial: int, quality: float, shape: tuple[int, int] = (3, 192), **more: Any) -> dict[str, Any]:
    """A finished trial of one shape; costs follow from the shape unless told."""
    layers, width = shape
    architecture = parse_shape(f"{layers}x{width}")
    body = layers * 12 * width**2
    row = {
        "trial": trial, "config_hash": f"{trial:016x}", "status": "finished", "reason": "", "seed": 0, "method": "mha",
        "relation_heads": 12, "teacher_layer": 5, "num_layers": layers, "hidden_size": width,
        "num_heads": architecture.num_heads,
        "intermediate_size": architecture.intermediate_size, "initialisation": "random",
        "learning_rate": 1e-3 + 1e-9 * trial, "batch_size": 16,
        "quality": quality, "parameters": body + 31_036 * width, "parameters_without_embeddings": body,
        "flops_per_token": 2 * body, "latency_p50_ms": 31 * (body / 10_616_832) ** 0.8,
        "latency_p95_ms": 33 * (body / 10_616_832) ** 0.8, "peak_memory_mib": 200.0, "loss_first": 3.0,
        "loss_last": 0.5, "train_tokens": 100_000, "steps": 98, "train_s": 3.0 * body / 1e6,
        "teacher_s": 1.0 * body / 1e6, "evaluate_s": 4.0,
        "profile_s": 0.8, "start_up_s": 0.3, "started_at": datetime(2026, 1, 2, tzinfo=UTC), "hardware": "Some CPU",
        "versions": "{}", "student_path": f"students/{trial:05d}",
    }  # fmt: skip
    for task, facts in TASKS.items():
        row[f"recovered_{task}"] = quality
        row[f"score_{task}"] = facts["floor"] + quality * (facts["teacher"] - facts["floor"])
        row[f"probe_layer_{task}"] = layers
    return row | more


def write_study(folder: Path, rows: Sequence[dict[str, Any]], *, per_part: int = 1, **meta: Any) -> Path:
    """A study folder with these trials."""
    folder.mkdir(parents=True, exist_ok=True)
    full = META | meta
    (folder / "study.json").write_text(json.dumps(full))
    (folder / "spec.toml").write_text('name = "quick"\nseed = 0\n')
    axes = [Column(**{**axis, "type": pa.type_for_alias(axis["type"])}) for axis in full.get("axes", ())]
    columns = trials_columns(list(full["tasks"]), axes=axes)
    for start in range(0, len(rows), per_part):
        write_part(folder / "trials", f"part-{start:05d}.parquet", columns, rows[start : start + per_part])
    return folder


def random_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Finished, failed, infeasible and duplicate trials in the proportions of a real study."""
    rng = np.random.default_rng(seed)
    rows = []
    for trial in range(count):
        shape, method = SHAPES[rng.integers(len(SHAPES))], METHODS[rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])]
        ceiling = 1 - 0.9 * np.exp(-(((shape[0] * shape[1]) / 700) ** 0.8)) - 0.1 * METHODS.index(method)
        axes = {"method": method, "relation_heads": 12 if method == "mha" else None,
                "mapping": MAPPINGS[rng.integers(3)] if method == "hs" else None,
                "temperature": 2.0 if method == "od" else None,
                "teacher_layer": int(rng.integers(4, 7)) if method.startswith("mha") else None,
                "learning_rate": float(10 ** rng.uniform(-3.5, -2.5))}  # fmt: skip
        row = finished_row(trial, float(ceiling + rng.normal(0, 0.05)), shape, **axes)
        row["latency_p50_ms"] *= float(rng.uniform(0.95, 1.05))
        status = rng.choice(["finished", "failed", "infeasible", "duplicate"], p=[0.88, 0.05, 0.05, 0.02])
        if status != "finished":
            row = {key: row[key] for key in ("trial", "config_hash", "seed", *axes)}
            row |= {"status": str(status), "reason": REASONS.get(str(status), "")}
        rows.append(row)
    return rows


def add_reports(folder: Path, rows: Sequence[dict[str, Any]], points: int = 25, per_part: int = 1) -> None:
    """A falling loss per finished trial."""
    reports: list[list[dict[str, Any]]] = []
    for row in rows:
        if row["status"] != "finished":
            continue
        tokens = np.linspace(4_000, 100_000, points)
        wave = 1 + 0.03 * np.sin(tokens / 3_000 + row["trial"])
        loss = LOSS_SCALES.get(row["method"], 1) * (0.2 + np.exp(-tokens / 2e4)) * wave
        reports.append(
            [
                {"trial": row["trial"], "step": i, "train_tokens": int(t), "loss": float(x), "learning_rate": 1e-3,
                 "gradient_norm": 1.0, "tokens_per_s": 2e4, "elapsed_s": float(i)}
                for i, (t, x) in enumerate(zip(tokens, loss, strict=True))
            ]
        )  # fmt: skip
    for start in range(0, len(reports), per_part):
        part = [report for trial in reports[start : start + per_part] for report in trial]
        write_part(folder / "reports", f"part-{part[0]['trial']:05d}.parquet", reports_columns(), part)


def add_test_scores(folder: Path, trials: Sequence[int]) -> None:
    """Teacher, floor and some students on the test split."""
    rows = []
    for trial, share in [(-1, 1.0), (-2, 0.0), *((t, 0.5) for t in trials)]:
        for task, facts in TASKS.items():
            score = facts["floor"] + share * (facts["teacher"] - facts["floor"]) - 0.01
            rows.append({"trial": trial, "task": task, "protocol": "probe", "score": score, "recovered": share,
                         "layer": 3, "metric": facts["metric"]})  # fmt: skip
    write_part(folder / "test_scores", "part-00000.parquet", test_scores_columns(), rows)
