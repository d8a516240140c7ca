"""What distillation gains, beside what costs no teacher or no training."""

import numpy as np
import pytest
from fake_studies import TASKS, finished_row, write_part, write_study

import analysis
from analysis.page.baselines import baselines, baselines_section
from spaces.records.columns import baselines_columns
from spaces.students.architecture import parse_shape


def cut(shape, kept, share, split="dev"):
    architecture = vars(parse_shape(shape))
    return [
        {"kept": kept, **architecture, "task": task, "split": split, "protocol": "probe", "score": 0.5,
         "recovered": share + spread, "metric": "accuracy"}
        for task, spread in zip(TASKS, (-0.05, 0.05), strict=True)
    ]  # fmt: skip


@pytest.fixture
def study(tmp_path):
    rows = [
        finished_row(0, 0.7, (3, 192)),
        finished_row(1, 0.5, (3, 192), method="mlm", relation_heads=None),
        finished_row(2, 0.6, (3, 192), method="hs", mapping="uniform", relation_heads=None),
        finished_row(3, 0.4, (2, 128)),
        finished_row(4, 0.9, (6, 384)),
    ]
    folder = write_study(tmp_path / "study", rows)
    known = [*cut("3x192", "first", 0.3), *cut("3x192", "uniform", 0.2), *cut("3x192", "first", 0.9, "test")]
    write_part(folder / "baselines", "part-00000.parquet", baselines_columns(), [*known, *cut("2x128", "first", 0.1)])
    return analysis.load(folder)


def test_the_best_of_each_shape_beside_its_baselines(study):
    table = baselines(study)
    assert list(table.index) == ["2x128", "3x192"]  # smallest first; of 6x384 no baseline is known
    assert table.loc["3x192"].tolist()[:4] == pytest.approx([0.7, 0.5, 0.3, 0.2])
    assert table.loc["2x128", "first"] == pytest.approx(0.1) and np.isnan(table.loc["2x128", "uniform"])


def test_the_section_has_teacher_and_floor_for_scale(study, tmp_path):
    html = baselines_section(study)
    for text in ("What distillation gains", "0.700", "0.300", "teacher, as it is", "floor (untrained)"):
        assert text in html
    nothing = analysis.load(write_study(tmp_path / "none", [finished_row(0, 0.5)]))
    assert baselines_section(nothing) == ""
