"""A study folder is read whole or refused with the name of the file."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import load
from spaces.errors import StillhouseError
from spaces.records.columns import decisions_columns
from spaces.records.schemas import schema


def test_rows_come_back_by_trial_number(fake: SimpleNamespace) -> None:
    study = load(fake.study([fake.row(2, 0.5), fake.row(0, 0.7, (4, 256)), fake.row(1, 0.1)]))
    assert study.trials["trial"].tolist() == [0, 1, 2]
    assert study.trials["architecture"].tolist() == ["4x256", "3x192", "3x192"]
    assert study.meta.name == "quick" and study.tasks == ("package", "pairs")
    assert study.notes == ()
    assert 'name = "quick"' in study.spec


def test_trials_that_pause_share_the_tokens_of_the_budget(fake: SimpleNamespace) -> None:
    folder = fake.study([fake.row(0, 0.5)])
    assert load(folder).planned == "40 planned"
    columns = schema(decisions_columns())
    (Path(folder) / "decisions").mkdir()
    decided = pa.Table.from_pylist([{"trial": 0, "decision": 0, "action": "try", "rung": 0}], schema=columns)
    pq.write_table(decided, Path(folder) / "decisions" / "part-00000.parquet")
    assert load(folder).planned == "tokens of 40 whole ones planned"


def test_a_uri_reads_like_a_path(fake: SimpleNamespace) -> None:
    folder = fake.study([fake.row(0, 0.5)])
    assert load("file://" + folder).trials.equals(load(folder).trials)


def test_an_absent_study_is_an_error_and_an_empty_one_says_so(fake: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(StillhouseError, match=r"no study at .*nowhere.*study\.json does not exist"):
        load(str(tmp_path / "nowhere"))
    study = load(fake.study([]))
    assert study.trials.empty and study.finished.empty and study.reports.empty and study.test_scores.empty
    assert "No trial has ended yet" in study.notes[0]


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"not parquet at all", None])
def test_a_damaged_part_is_named(fake: SimpleNamespace, damage: bytes | None) -> None:
    folder = fake.study([fake.row(trial, 0.5) for trial in range(3)], per_part=1)
    part = Path(folder) / "trials" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-40] if damage is None else damage)
    with pytest.raises(StillhouseError, match=r"part-00001\.parquet is damaged.*set it\s+aside"):
        load(folder)


def test_a_damaged_report_part_is_named_when_reports_are_read(fake: SimpleNamespace) -> None:
    rows = [fake.row(0, 0.5)]
    folder = fake.study(rows)
    fake.reports(folder, rows)
    (Path(folder) / "reports" / "part-00000.parquet").write_bytes(b"PAR1")
    study = load(folder)
    with pytest.raises(StillhouseError, match=r"reports/part-00000\.parquet"):
        _ = study.reports


def test_writes_in_progress_are_passed_over(fake: SimpleNamespace) -> None:
    folder = fake.study([fake.row(0, 0.5)])
    for name in (".part-00001.parquet.123.tmp", ".part-00002.parquet", "part-00003.parquet.tmp", "notes.txt"):
        (Path(folder) / "trials" / name).write_bytes(b"half")
    assert load(folder).trials["trial"].tolist() == [0]


def test_a_repeated_trial_keeps_its_last_row_and_says_so(fake: SimpleNamespace) -> None:
    rows = [fake.row(0, 0.1), fake.row(1, 0.2), fake.row(0, 0.9)]
    study = load(fake.study(rows))
    assert study.trials.set_index("trial")["quality"].to_dict() == {0: 0.9, 1: 0.2}
    assert "more than once" in study.notes[0] and "trial 0." in study.notes[0]


def test_a_missing_or_mistyped_column_is_named(fake: SimpleNamespace) -> None:
    folder = fake.study([fake.row(0, 0.5)])
    part = Path(folder) / "trials" / "part-00000.parquet"
    table = pq.read_table(part)
    pq.write_table(table.drop_columns(["latency_p50_ms"]), part)
    with pytest.raises(StillhouseError, match=r"part-00000\.parquet has no column 'latency_p50_ms'"):
        load(folder)
    index = table.schema.get_field_index("quality")
    pq.write_table(table.set_column(index, "quality", pa.array(["good"])), part)
    with pytest.raises(StillhouseError, match=r"'quality' must be of type double, got string"):
        load(folder)


def test_another_format_and_broken_json_are_refused(fake: SimpleNamespace) -> None:
    folder = fake.study([fake.row(0, 0.5)])
    meta = Path(folder) / "study.json"
    meta.write_text(json.dumps(fake.meta | {"format": 7}))
    with pytest.raises(StillhouseError, match="format must be 1 to 2, got 7"):
        load(folder)
    meta.write_text("{")
    with pytest.raises(StillhouseError, match="not valid JSON"):
        load(folder)
    teacher = {**fake.teacher, "digest": 3}
    table = {key: value for key, value in fake.meta.items() if key not in ("sampler", "objectives")}
    meta.write_text(json.dumps(table | {"teacher": teacher}))
    with pytest.raises(StillhouseError) as caught:
        load(folder)
    for problem in ("objectives is missing", "sampler is missing", "teacher.digest must be a text, got 3"):
        assert f"{problem}" in str(caught.value)


def test_what_a_file_says_beyond_this_version_is_told(fake: SimpleNamespace) -> None:
    study = load(fake.study([fake.row(0, 0.5)], colour="blue", teacher={**fake.teacher, "mood": "good"}))
    assert study.notes == ("study.json says more than this version of stillhouse knows: colour, teacher.mood.",)
    study = load(fake.study([fake.row(0, 0.5)], costs=["parameters", "energy_j"]))
    assert study.notes == ("Measured by a package that is not installed here: energy_j.",)


def test_reports_of_some_trials_are_the_same_whichever_parts_hold_them(fake: SimpleNamespace) -> None:
    rows = [fake.row(trial, 0.5) for trial in range(6)]
    folder = fake.study(rows)
    fake.reports(folder, rows, points=4, per_part=2)  # two trials in a part: its name says only the first
    study = load(folder)
    for wanted in ([0, 2], [1, 5], []):
        picked = study.reports_of(wanted)
        assert sorted(set(picked["trial"])) == wanted and len(picked) == 4 * len(wanted)


def test_reading_a_study_needs_neither_torch_nor_ray(fake: SimpleNamespace) -> None:
    folder = fake.study(fake.rows(12))
    code = (
        "import sys\n"
        "from analysis.page.report import write_report\n"
        f"write_report({folder!r})\n"
        "from search.cli.main import main\n"
        f"assert main(['front', {folder!r}]) == 0\n"
        "assert not {'torch', 'ray', 'transformers'} & set(sys.modules)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (Path(folder) / "report.html").is_file()


def test_the_family_of_a_student_is_in_its_name_where_it_is_not_the_teachers(fake: SimpleNamespace) -> None:
    axes = [{"name": "family", "type": "string", "unit": "", "meaning": "family"}]
    rows = [fake.row(0, 0.5), fake.row(1, 0.6, family="modernbert"), fake.row(2, 0.4)]
    found = load(fake.study(rows, axes=axes))
    assert found.trials["architecture"].tolist() == ["3x192", "3x192 modernbert", "3x192"]
    assert found.trials["family"].tolist() == ["bert", "modernbert", "bert"]
