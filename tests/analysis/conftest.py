"""The fixture that writes fake studies, and one browser for all tests that open a page."""

from pathlib import Path
from types import SimpleNamespace

import browser as chromium
import pytest
from fake_studies import META, TASKS, TEACHER, add_reports, add_test_scores, finished_row, random_rows, write_study


@pytest.fixture
def fake(tmp_path: Path) -> SimpleNamespace:
    """Everything above; `fake.study(rows, **meta)` writes a folder, a file for all rows, and returns its path."""
    return SimpleNamespace(
        study=lambda rows, **more: str(write_study(tmp_path / "study", rows, **{"per_part": len(rows) or 1, **more})),
        row=finished_row,
        rows=random_rows,
        reports=lambda folder, rows, **more: add_reports(Path(folder), rows, **more),
        test_scores=lambda folder, trials: add_test_scores(Path(folder), trials),
        meta=META,
        teacher=TEACHER,
        tasks=TASKS,
    )


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium, or a skip that says what is missing."""
    if why := chromium.missing():
        pytest.skip(why)
    with chromium.opened() as running:
        yield running
