"""Reading a study in Python, step by step. Runs as it stands, and cell by cell in a notebook or an editor:

    python docs/reading_a_study.py studies/quick

Needs a study folder (`make search` leaves one); the tests run this file.
"""

# %% A study folder becomes one value. It may lie on an object store as well: analysis.load("s3://bucket/study").
import sys

import analysis
from analysis.figures.figures import FIGURES

study = analysis.load(sys.argv[1] if len(sys.argv) > 1 else "studies/quick")

# %% Every trial is a row of a pandas table; units and meanings stand in the Parquet files.
print(study.trials[["trial", "status", "method", "architecture", "quality", "parameters"]].head())

# %% A student is a configuration; its quality is the mean over the seeds it ran with.
print(study.students.nlargest(3, "quality")[["trial", "seeds", "quality", "low", "high"]])
print(f"noise between seeds: {study.noise.std:.3f}" if study.noise.known else "every configuration ran with one seed")

# %% The front, by the study's objectives or by others.
front = study.front()
print(front[["trial", "architecture", "method", "quality", "parameters", "latency_p50_ms"]])
print(len(study.front(["quality", "flops"])), "students are on the front of quality and FLOPs")

# %% One student under a budget: the row, the reason, and the next best.
half = study.meta.teacher.costs["parameters"] / 2
picked = study.pick(max_parameters=half)
print(f"trial {picked.trial['trial']}: {picked.reason}")
if picked.runner_up is not None:
    print(f"then trial {picked.runner_up['trial']}, which differs by {picked.trade}")

# %% Figures are plotly figures: the last line of a notebook cell shows one, write_html keeps it.
figure = study.figure("front", cost="latency_ms")
print(f"{len(figure.data)} traces; others: {', '.join(FIGURES)}")

# %% Any question that pandas can ask: does the quality of a method depend on depth?
print(study.students.pivot_table(index="num_layers", columns="method", values="quality", aggfunc="max").round(3))
