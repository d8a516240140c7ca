"""The cost of docs/extending.md is measured, recorded, limited and shown, and no file of the tree knows of it."""

import os
import subprocess
import sys
from pathlib import Path

from extra_package import install

ROOT = Path(__file__).parents[1]
CHECKS = """
import io, sys, tomllib
from pathlib import Path

import torch
import toy
from fake_studies import TEACHER, finished_row, write_study
from rich.console import Console

from analysis import load
from analysis.page.report import content
from analysis.page.terminal import front_text
from search.cli.main import main
from search.phases.finish import make_card
from search.store.parts import Store
from spaces.records.costs import COSTS
from spaces.records.latency import LatencySpec
from trainables.export.card import card_text
from trainables.export.measuring import measure
from trainables.models.student import build_student
from trainables.models.teacher import load_teacher

assert list(COSTS)[-1] == "disk_mb"

# measured
teacher = load_teacher("package:trainables/embedded_teacher")
config = {"method": "hs", "initialisation": "random", "num_layers": 2, "hidden_size": 96, "num_heads": 12,
          "intermediate_size": 384}
student = build_student(config, teacher, 0)
from spaces.students.architecture import architecture_of
found = measure(student, architecture_of(config), teacher.facts, LatencySpec(sequence_length=16))
assert found["disk_mb"] * 1e6 > 4 * found["parameters"] and found["latency_p50_ms"] > 0

# searched for and limited
spec, _ = toy.read(toy.SPEC + "[search]\\nobjectives = ['quality', 'disk_mb']\\nconstraints = { disk_mb = 30 }\\n")
assert spec.search.objectives == ("quality", "disk_mb")

# recorded, also beside rows that an installation without the package wrote
folder = sys.argv[1]
rows = [finished_row(trial, q, disk_mb=mb) for trial, (q, mb) in enumerate([(0.5, 10.0), (0.7, 20.0), (0.9, 40.0)])]
costs = {**TEACHER["costs"], "disk_mb": 80.0}
write_study(Path(folder), rows, objectives=["quality", "disk_mb"], constraints={"disk_mb": 30},
            teacher={**TEACHER, "costs": costs})
older = Store(folder, ["package", "pairs"])
older.write_part("trials", 9, [{**finished_row(9, 0.95), "disk_mb": 0.0}])
import pyarrow.parquet as pq
part = f"{folder}/trials/part-00009.parquet"
pq.write_table(pq.read_table(part).drop_columns(["disk_mb"]), part)
stored = Store.of(folder).read_trials()
assert [row.value("disk_mb") for row in stored] == [10.0, 20.0, 40.0, None]

# shown and picked by
study = load(folder)
assert study.front()["trial"].tolist() == [0, 1]
terminal = io.StringIO()
Console(file=terminal, width=200).print(front_text(study))
assert " MB " in terminal.getvalue() and "20.0" in terminal.getvalue()
page = content(study)
for words in (">size on disk, MB<", '"label":"size on disk"', "disk_mb &lt;= 30", "% of its size on disk"):
    assert words in page.replace('": "', '":"'), words
assert study.figure("front", cost="disk_mb").layout.xaxis.title.text == "size on disk, MB"
assert study.pick(max_disk_mb=15).trial["trial"] == 0
assert main(["best", folder, "--max-disk-mb", "20%"]) == 0
assert main(["front", folder, "--objectives", "quality", "disk_mb"]) == 0
spec = {"corpus": {"source": "docs", "sequence_length": 64}, "training": {}}
card = make_card(study.meta, spec, stored[1], {}, [])
assert "| all files of the student (MB) | 20 |" in card_text(card)
"""


def test_from_measuring_to_the_card(tmp_path):
    install(tmp_path)
    folders = (tmp_path, ROOT, ROOT / "tests/analysis", ROOT / "tests/search")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run(
        [sys.executable, "-c", CHECKS, str(tmp_path / "study")], env=environment, cwd=ROOT, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "10.0 MB of size on disk, 12 % of the teacher's size on disk" in done.stdout
