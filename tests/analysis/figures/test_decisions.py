"""What freeze and thaw decided, as a picture."""

from pathlib import Path
from types import SimpleNamespace

from fake_studies import write_part

from analysis.api import load
from analysis.figures.decisions import MAX_TRIALS, decisions_figure, spans_of
from analysis.page.report import content
from spaces.records.columns import decisions_columns

DECIDED = [
    {"trial": 0, "decision": 0, "action": "try", "rung": 0, "compared": 40},
    {"trial": 1, "decision": 1, "action": "try", "rung": 0, "compared": 40},
    {"trial": 0, "decision": 2, "action": "pause", "rung": 1, "gain": 0.01, "price": 0.5, "left": 0.75,
     "rival_gain": 0.04, "rival_price": 1.2, "compared": 41},
    {"trial": 1, "decision": 3, "action": "go_on", "rung": 1, "gain": 0.03, "price": 0.7, "left": 0.75, "compared": 41},
    {"trial": 0, "decision": 4, "action": "thaw", "rung": 1, "gain": 0.02, "price": 0.5, "left": 0.75, "rival": 1,
     "rival_gain": 0.001, "rival_price": 0.4, "compared": 42},
    {"trial": 1, "decision": 5, "action": "end", "rung": 3},
]  # fmt: skip


def test_a_trial_is_a_line_that_is_full_where_it_ran(fake: SimpleNamespace) -> None:
    folder = fake.study([fake.row(0, 0.5, method="<b>hs"), fake.row(1, 0.6)])
    assert decisions_figure(load(folder)) is None and "What the search decided" not in content(load(folder))
    write_part(Path(folder) / "decisions", "part-00000.parquet", decisions_columns(), DECIDED)
    study = load(folder)
    own = study.decisions
    assert spans_of(0, own[own["trial"] == 0], 5) == [(0, 0, 2, False), (0, 2, 4, True), (0, 4, 5, False)]
    assert spans_of(1, own[own["trial"] == 1], 5) == [(1, 1, 3, False), (1, 3, 5, False)]
    figure = study.figure("decisions")
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces) == ["waits", "&lt;b&gt;hs", "mha", "tried", "thawed", "paused", "at its end"]
    assert list(traces["waits"].x) == [2, 4, None] and list(traces["mha"].y) == [1, 1, None, 1, 1, None]
    (paused,), (thawed,) = traces["paused"].customdata, traces["thawed"].customdata
    assert "taken instead: a new configuration, 0.040 for 1.20" in paused and "&lt;b&gt;hs (trial 0)" in paused
    assert "second: trial 1, 0.001 for 0.40" in thawed and "may add 0.020 of hypervolume for 0.50 trials" in thawed
    page = content(study)
    assert "2 trials tried, 1 pause, 1 thaw; 1 came to their end, 1 did not." in page
    assert "<dt>schedule</dt><dd>freeze_thaw</dd>" in page and "<dt>sampler</dt>" not in page


def test_of_many_trials_the_latest_are_drawn(fake: SimpleNamespace) -> None:
    folder = fake.study([])
    rows = [{"trial": trial, "decision": trial, "action": "try", "rung": 0} for trial in range(MAX_TRIALS + 5)]
    write_part(Path(folder) / "decisions", "part-00000.parquet", decisions_columns(), rows)
    tried = next(trace for trace in load(folder).figure("decisions").data if trace.name == "tried")
    assert len(tried.x) == MAX_TRIALS and min(tried.y) == 5
