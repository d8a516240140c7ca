"""The table of students by language."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_studies import META, TASKS, finished_row, write_part

from analysis import load
from analysis.page.languages import language_section
from analysis.page.report import page_of
from spaces.records.columns import trials_columns
from spaces.records.schemas import schema

MANY = {
    "pos_en": {**TASKS["package"], "language": "en"},
    "nli_en": {**TASKS["package"], "language": "en"},
    "pos_de": {**TASKS["package"], "language": "de"},
    "other": TASKS["package"],
}


@pytest.fixture
def study(tmp_path):
    import json

    shares = [(0.8, 0.6, 0.5, 0.9), (0.4, 0.4, 0.6, 0.2)]
    rows = []
    for trial, (pos_en, nli_en, pos_de, other) in enumerate(shares):
        values = {"pos_en": pos_en, "nli_en": nli_en, "pos_de": pos_de, "other": other}
        quality = sum(values.values()) / 4
        row = finished_row(trial, quality, ((4, 256), (2, 128))[trial])
        row = {name: value for name, value in row.items() if not name.endswith(tuple(TASKS))}
        row |= {f"recovered_{task}": share for task, share in values.items()}
        row |= {f"score_{task}": share for task, share in values.items()}
        row |= {"worst_language": ("de", "en")[trial], "worst_language_quality": (0.5, 0.4)[trial]}
        rows.append(row)
    rows.append({**rows[0], "trial": 2, "seed": 1, "worst_language_quality": 0.3})
    (tmp_path / "study.json").write_text(json.dumps(META | {"tasks": MANY}))
    write_part(tmp_path / "trials", "part-00000.parquet", trials_columns(list(MANY), by_language=True), rows)
    return load(str(tmp_path))


def test_mean_shares_by_language_with_the_worst_in_bold(study):
    assert study.meta.languages == {"en": ["pos_en", "nli_en"], "de": ["pos_de"]}
    text = language_section(study, study.front())
    rows = [re.findall(r"<td>(.*?)</td>", line) for line in text.splitlines() if 'scope="row"' in line]
    lines = [[cell.split("<small>")[0] for cell in row] for row in rows]
    assert re.search(r"<small>-?\d+ to \d+ %", rows[0][1]) and rows[0][1] != rows[0][2]
    assert lines == [
        ["40 %", "<strong>40 %</strong>", "60 %", "en"],
        ["70 %", "70 %", "<strong>50 %</strong>", "de"],
    ]
    assert "2 tasks" in text
    assert "By language" in page_of(study)


def test_the_worst_language_is_averaged_over_seeds_and_can_be_an_objective(study):
    students = study.students.set_index("trial")
    assert students.loc[0, "worst_language_quality"] == pytest.approx(0.4)
    assert len(study.front(["quality", "worst_language_quality", "parameters"])) == 2
    assert study.pick(max_parameters=1e9).trial["trial"] == 0


def test_a_study_without_languages_has_no_such_section(tmp_path):
    from fake_studies import random_rows, write_study

    study = load(str(write_study(tmp_path, random_rows(5))))
    assert language_section(study, study.front()) == ""
    assert "worst_language" not in schema(trials_columns(["a"])).names
    assert isinstance(pq.read_schema(next((tmp_path / "trials").iterdir())), pa.Schema)
