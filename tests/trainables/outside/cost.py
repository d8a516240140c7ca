"""The cost of docs/extending.md is measured, recorded, limited and shown, and no file of the tree knows of it."""

import io

import pyarrow.parquet as pq
import toy
from fake_studies import TEACHER, finished_row, write_study
from rich.console import Console

from analysis import load
from analysis.page.report import content
from analysis.page.terminal import front_text
from search.cli.main import main
from search.phases.exporting import facts_of
from search.store.parts import Store
from spaces.records.costs import COSTS
from spaces.records.latency import LatencySpec
from spaces.students.architecture import architecture_of
from trainables.export.card import card_text
from trainables.export.measuring import measure
from trainables.models.student import build_student
from trainables.models.teacher import load_teacher


def test_outside_cost_is_measured():
    assert list(COSTS)[-1] == "folder_mb"
    teacher = load_teacher("package:trainables/embedded_teacher")
    config = {
        "method": "hs", "initialisation": "random", "num_layers": 2, "hidden_size": 96, "num_heads": 12,
        "intermediate_size": 384,
    }  # fmt: skip
    student = build_student(config, teacher, 0)
    found = measure(student, architecture_of(config), teacher.facts, LatencySpec(sequence_length=16))
    assert found["folder_mb"] * 1e6 > 4 * found["parameters"] and found["latency_p50_ms"] > 0


def test_outside_cost_is_searched_for_and_limited():
    text = toy.SPEC + '[search]\nobjectives = ["quality", "folder_mb"]\nconstraints = { folder_mb = 30 }\n'
    assert toy.read(text)[0].search.objectives == ("quality", "folder_mb")


def test_outside_cost_is_recorded_and_shown(tmp_path, capsys):
    folder = tmp_path / "study"
    shares = [(0.5, 10.0), (0.7, 20.0), (0.9, 40.0)]
    rows = [finished_row(trial, quality, folder_mb=size) for trial, (quality, size) in enumerate(shares)]
    costs = {**TEACHER["costs"], "folder_mb": 80.0}
    write_study(
        folder, rows, objectives=["quality", "folder_mb"], constraints={"folder_mb": 30},
        teacher={**TEACHER, "costs": costs},
    )  # fmt: skip
    # A row that an installation without the package wrote stands beside them.
    Store(folder, ["package", "pairs"]).write_part("trials", 9, [{**finished_row(9, 0.95), "folder_mb": 0.0}])
    part = folder / "trials/part-00009.parquet"
    pq.write_table(pq.read_table(part).drop_columns(["folder_mb"]), part)
    stored = Store.of(folder).read_trials()
    assert [row.value("folder_mb") for row in stored] == [10.0, 20.0, 40.0, None]
    study = load(str(folder))
    assert study.front()["trial"].tolist() == [0, 1]
    terminal = io.StringIO()
    Console(file=terminal, width=200).print(front_text(study))
    assert " MB " in terminal.getvalue() and "20.0" in terminal.getvalue()
    page = content(study).replace('": "', '":"')
    for words in (">size on disk, MB<", '"label":"size on disk"', "folder_mb &lt;= 30", "% of its size on disk"):
        assert words in page, words
    assert study.figure("front", cost="folder_mb").layout.xaxis.title.text == "size on disk, MB"
    assert study.pick(max_folder_mb=15).trial["trial"] == 0
    assert main(["best", str(folder), "--max-folder-mb", "20%"]) == 0
    assert "10.0 MB of size on disk, 12 % of the teacher's size on disk" in capsys.readouterr().out
    assert main(["front", str(folder), "--objectives", "quality", "folder_mb"]) == 0
    spec = {"corpus": {"source": "docs", "sequence_length": 64}, "training": {}}
    facts = facts_of(study.meta, spec, stored[1], {}, [])
    assert "| all files of the student (MB) | 20 |" in card_text(facts)
