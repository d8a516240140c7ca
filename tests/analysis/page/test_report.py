"""The report is one file that loads nothing, escapes everything, and stays fast and small for a large study."""

import io
import json
import re
import time
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import fake_studies
import pytest
from rich.console import Console, Group

from analysis import load
from analysis.page.report import page_of, write_report
from analysis.page.terminal import front_text
from analysis.page.text import headline, verdict
from analysis.words import number
from search.cli.picking import scores_text
from spaces.errors import StillhouseError

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'


class Page(HTMLParser):
    """The page's own elements and text, scripts apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.figures, self.inside = "", [], ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = "json" if tag == "script" and attrs else tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "json":
            self.figures.append(json.loads(data))
        elif self.inside not in ("script", "style"):
            self.text += data + " "


def read_page(folder: str) -> Page:
    return Page(page_of(load(folder)))


def test_a_full_study_has_every_section(fake: SimpleNamespace) -> None:
    rows = fake.rows(40, seed=3)
    folder = fake.study(rows)
    fake.reports(folder, rows)
    fake.test_scores(folder, [next(r["trial"] for r in rows if r["status"] == "finished")])
    out = write_report(folder)
    assert out == f"{folder}/report.html" and not list(Path(folder).glob(".*"))
    page = Page(Path(out).read_text())
    for title in ("The front", "On the test split", "Method by architecture", "Layer mappings",
                  "Importance of the axes", "Was the search still improving?", "Learning curves",
                  "Trials that did not finish", "Time spent", "Environment"):  # fmt: skip
        assert title in page.text, title
    assert all(part in page.text for part in headline(load(folder)))
    buttons = page.figures[0]["layout"]["updatemenus"][0]["buttons"]
    assert [button["label"] for button in buttons] == ["parameters", "median latency", "FLOPs", "peak memory"]
    for fact in ("0123456789abcdef", "Some CPU, 2 cores", "torch 2.13.0", "loss became NaN at step 12"):
        assert fact in page.text


def test_tested_students_that_others_beat_are_folded(fake: SimpleNamespace) -> None:
    rows = fake.rows(40, seed=3)
    folder = fake.study(rows)
    finished = [row["trial"] for row in rows if row["status"] == "finished"]
    fake.test_scores(folder, finished)
    on_front = len(load(folder).front())
    assert 0 < on_front < len(finished)
    shown, _, folded = page_of(load(folder)).partition("On the test split")[2].partition("<details>")
    folded = folded.partition("</details>")[0]
    assert shown.count("trial ") == on_front and folded.count("<small>trial ") == len(finished) - on_front
    assert f"{len(finished) - on_front} more students, not on the front" in folded


def test_the_page_loads_nothing_and_embeds_plotly_once(fake: SimpleNamespace) -> None:
    html = page_of(load(fake.study(fake.rows(12))))
    page = Page(html)
    assert not [attrs for _, attrs in page.tags if {"src", "href"} & set(attrs)]
    assert "@import" not in html.split("</style>")[0] and "url(" not in html.split("</style>")[0]
    assert len(re.findall(r"plotly\.js v\d", html)) == 1


def test_the_page_goes_where_it_is_told(fake: SimpleNamespace, tmp_path: Path) -> None:
    out = str(tmp_path / "new" / "page.html")
    assert write_report(fake.study([fake.row(0, 0.5)]), out) == out
    assert Path(out).read_text().startswith("<!DOCTYPE html>") and len(list(Path(out).parent.iterdir())) == 1


def test_text_from_the_study_is_escaped_everywhere(fake: SimpleNamespace) -> None:
    tasks = {EVIL: fake.tasks["package"]}
    scores = {f"score_{EVIL}": 0.7, f"recovered_{EVIL}": 0.5}
    rows = [
        fake.row(t, t / 20, method=EVIL, mapping=EVIL + str(t % 2), initialisation=EVIL, **scores) for t in range(12)
    ]
    rows.append({"trial": 12, "status": "failed", "reason": EVIL})
    meta = {"name": EVIL, "hardware": EVIL, "versions": {EVIL: EVIL}, "teacher": fake.teacher | {"name": EVIL}}
    folder = fake.study(rows, tasks=tasks, **meta)
    fake.reports(folder, rows)
    (Path(folder) / "spec.toml").write_text(f"name = '{EVIL}'")
    page = read_page(folder)
    assert EVIL in page.text
    assert "img" not in [tag for tag, _ in page.tags]
    assert len([attrs for tag, attrs in page.tags if tag == "script" and not attrs]) == 2  # plotly and report.js
    assert EVIL not in json.dumps(page.figures) and "&lt;script&gt;" in json.dumps(page.figures)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "No trial has ended yet; 40 trials planned."),
        ([{"trial": 0, "status": "failed", "reason": "diverged"}], "None of 1 trial finished. Most often: diverged."),
    ],
)
def test_a_study_without_results_says_so(fake: SimpleNamespace, rows: list[dict], words: str) -> None:
    page = read_page(fake.study(rows))
    assert words in page.text and "The front" not in page.text and "Environment" in page.text


def test_verdict_of_one_of_several_and_of_useless_students(fake: SimpleNamespace) -> None:
    row = fake.row(7, 0.71, parameters=int(0.22 * 22_565_376), latency_p50_ms=10.0)
    numbers = (
        "It scores 0.742 on package, its worst task (probe, layer 3), where the teacher has 0.820 and an untrained "
        "encoder 0.550, 71 % (57 to 85 %) of that gap, and recovers 71 % (59 to 83 %) of the teacher's gain over an "
        "untrained encoder, the mean over 2 tasks, at 22 % of its parameters and 3.1 times its speed."
    )
    assert verdict(load(fake.study([row]))) == f"The only finished student is 3x192 by mha (trial 7). {numbers}"
    both = load(fake.study([row, fake.row(8, 0.2, (6, 384))]))
    assert verdict(both).startswith("One student beats the other in quality and parameters: 3x192 by mha (trial 7).")
    assert verdict(both).endswith(numbers)
    useless = load(fake.study([fake.row(7, -0.1), fake.row(8, -0.2, (6, 384))]))
    assert "No student is better than an untrained encoder" in verdict(useless)
    unmeasured = load(fake.study([fake.row(t, 0.5, parameters=None) for t in (7, 8)]))
    assert "none with all of quality, parameters measured." in verdict(unmeasured)
    bounded = load(fake.study([fake.row(7, 0.5)], constraints={"latency_ms": 0.01}))
    assert "measured within the limits (latency_ms <= 0.01)." in verdict(bounded)
    assert "The front" not in page_of(bounded)


def test_the_verdict_names_the_best_of_that_size_without_the_teacher(fake: SimpleNamespace) -> None:
    rows = [fake.row(0, 0.8), fake.row(1, 0.55, method="mlm"), fake.row(2, 0.7, (6, 384), method="mlm")]
    assert verdict(load(fake.study(rows))).endswith(
        "The best of that size that trained without the teacher recovers 55 %."
    )


def test_a_task_whose_gap_is_within_noise_is_marked_wherever_its_share_stands(fake: SimpleNamespace) -> None:
    tasks = {"package": fake.tasks["package"], "pairs": fake.tasks["pairs"] | {"teacher": 0.56, "floor": 0.49}}
    study = load(fake.study([fake.row(0, 0.5), fake.row(1, 0.7, (4, 256), recovered_pairs=-3.0)], tasks=tasks))
    warning = "Task pairs: the teacher (0.560) is 1.4 standard errors above an untrained encoder (0.490)"
    terminal = printed(front_text(study))
    assert study.warnings[0].startswith(warning) and "leave it out" in study.warnings[0]
    assert "* Task pairs" in terminal and "pairs*" in terminal
    assert "Shares of pairs* say little." in verdict(study) and "on package, its worst task" in verdict(study)
    assert warning in page_of(study) and "pairs* <small>" in page_of(study)
    assert scores_text(study, study.students.iloc[0])[1].startswith("pairs*: ")


def test_protocol_and_layer_stand_beside_a_score_and_what_is_too_good_is_marked(fake: SimpleNamespace) -> None:
    tasks = {"package": fake.tasks["package"], "pairs": {**fake.tasks["pairs"], "protocol": "zero_shot"}}
    read = {"probe_layer_package": 0, "probe_layer_pairs": None, "recovered_pairs": 1.35}
    study = load(fake.study([fake.row(0, 0.5), fake.row(1, 0.8, (4, 256), **read)], tasks=tasks))
    terminal, page, row = printed(front_text(study), width=200), page_of(study), study.students.iloc[1]
    assert "Scored by probe: package; by zero_shot: pairs." in terminal and "0.766 L0" in terminal
    assert "accuracy, probe, dev" in page and "spearman, zero_shot, dev" in page and "layer 0" in page
    assert "on package, its worst task (probe, layer 0)" in verdict(study)
    assert "accuracy (probe, layer 0)" in scores_text(study, row)[0] and "(zero_shot)" in scores_text(study, row)[1]
    lines = (
        "Scores read below the last layer, which is not what a student gives by itself: 1 on package.",
        "More than 110 % of the teacher's gain on pairs (trial 1: 135 %)",
    )
    for line in lines:
        assert line in terminal and escape(line) in page, line


def test_weights_and_protocols_of_tasks_and_kept_starts_are_said(fake: SimpleNamespace) -> None:
    tasks = {
        "package": fake.tasks["package"] | {"weight": 2.0},
        "pairs": fake.tasks["pairs"] | {"protocol": "zero_shot"},
    }
    kept = {"kept_tokens": 0, "start_quality": 0.5, "trained_quality": 0.2}
    of_rung = {"kept_tokens": 10, "train_tokens": 30, "start_quality": 0.5, "trained_quality": 0.7}
    study = load(fake.study([fake.row(0, 0.5, **kept), fake.row(1, 0.8, (4, 256), **of_rung)], tasks=tasks))
    terminal, page = printed(front_text(study), width=250), page_of(study)
    line = "Scored by probe: package; by zero_shot: pairs. Weights in quality: package 2, pairs 1."
    assert line in terminal and line in page and "weighted mean over 2 tasks" in verdict(study)
    assert "probe, zero_shot" in page and "3x192 by mha, start kept" in terminal
    text = "the start was kept. In 1 the student of a rung was better than that of the end, and was kept."
    assert text in verdict(study) and text in page
    assert "<td>0.200" not in page and "mean 0.20<br>1 student" in page  # what the method led to


def test_a_latency_that_moved_while_it_was_measured_is_marked(fake: SimpleNamespace) -> None:
    costs = {**fake.teacher["costs"], "latency_moved": 0.25}
    rows = [fake.row(0, 0.5, latency_moved=0.71), fake.row(1, 0.8, (4, 256), latency_moved=0.02), fake.row(2, 0.3)]
    study = load(fake.study(rows, teacher={**fake.teacher, "costs": costs}))
    terminal, page = printed(front_text(study), width=250), page_of(study)
    line = "~ Median latency moved by up to 71 % while it was measured (trial 0, the teacher)"
    assert line in terminal and escape(line) in page and "~31.00" in terminal and "~31.00" in page
    assert f"~{study.students.iloc[0]['latency_p50_ms']:.2f}" in terminal and terminal.count("~") == 3


def test_columns_without_room_are_named_and_raw_scores_stay_longest(fake: SimpleNamespace) -> None:
    study = load(fake.study([fake.row(0, 0.5), fake.row(1, 0.8, (4, 256))]))
    wide, narrow = printed(front_text(study)), printed(front_text(study, width=72), width=72)
    head = next(line for line in wide.splitlines() if line.startswith("trial"))
    assert " ".join(head.split()) == "trial student package pairs quality 95 % params ms speed FLOPs MiB"
    head = next(line for line in narrow.splitlines() if line.startswith("trial"))
    assert " ".join(head.split()) == "trial student package pairs quality params ms"
    assert "+ 4 more: 95 %, speed, FLOPs, MiB (--wide shows them" in narrow
    assert max(map(len, narrow.splitlines())) <= 72 and ", knee" in narrow
    worst = fake.study([fake.row(0, 0.5, recovered_pairs=0.2), fake.row(1, 0.8, (4, 256), recovered_pairs=0.4)])
    text = printed(front_text(load(worst), width=58), width=200)
    head = next(line for line in text.splitlines() if line.startswith("trial"))
    assert "on pairs, its worst task" in text and " ".join(head.split()) == "trial student pairs quality params"


def test_where_there_is_little_room_the_worst_task_and_those_of_most_weight_stay(fake: SimpleNamespace) -> None:
    tasks = {name: fake.tasks["package"] | {"weight": weight} for name, weight in (("a", 1), ("b", 1), ("c", 2))}
    rows = [fake.row(0, 0.5, **{f"{kind}_{task}": 0.2 if task == "a" else 0.6 for task in tasks
                                for kind in ("score", "recovered")})]  # fmt: skip
    text = printed(front_text(load(fake.study(rows, tasks=tasks)), width=64), width=200)
    head = next(line for line in text.splitlines() if line.startswith("trial"))
    assert " ".join(head.split()) == "trial student a c quality params"


def test_unmeasured_costs_and_a_teacher_without_numbers_still_make_a_page(fake: SimpleNamespace) -> None:
    unmeasured = dict.fromkeys(("latency_p50_ms", "flops_per_token", "peak_memory_mib", "train_s"))
    rows = [fake.row(t, 0.1 * t, **unmeasured) for t in range(1, 5)]
    page = read_page(fake.study(rows, teacher={**fake.teacher, "costs": {}}))
    assert "The front" in page.text
    assert "updatemenus" not in page.figures[0]["layout"]


def printed(text: Group, width: int = 110) -> str:
    """As a terminal of this width shows it, its lines not cropped."""
    console = Console(width=width, file=io.StringIO())
    console.print(text, crop=False)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_terminal_text_holds_the_front_teacher_and_floor(fake: SimpleNamespace) -> None:
    rows = [fake.row(0, 0.5, method="[red]od[/red]"), fake.row(1, 0.8, (4, 256)), fake.row(1, 0.9, (4, 256))]
    text = printed(front_text(load(fake.study(rows))))
    assert "3x192 by [red]od[/red]" in text and "4x256 by mha" in text and "0.900" in text and "0.800" not in text
    assert "teacher 6x384" in text and "floor" in text and "more than once" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (float("nan"), "-"), (0.0, "0"), (3.14159, "3.14"), (999, "999"), (1_000, "1.00 k"),
     (999_900, "1.00 M"), (15_234_000, "15.2 M"), (123_456_789, "123 M"), (2.5e9, "2.50 G")],
)  # fmt: skip
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


def test_ten_thousand_trials_stay_fast_and_small(fake: SimpleNamespace) -> None:
    rows = fake.rows(10_000)
    folder = fake.study(rows, per_part=100, objectives=["quality", "parameters", "latency_ms"])
    fake.reports(folder, rows, points=10, per_part=100)
    started = time.process_time()
    out = write_report(folder)
    assert time.process_time() - started < 15
    assert Path(out).stat().st_size < 15e6


def test_a_study_that_can_only_be_read(tmp_path):
    """The page goes elsewhere, and a place that cannot be written is told with the way out."""
    study = fake_studies.write_study(tmp_path / "study", fake_studies.random_rows(3))
    (study / "report.html").mkdir()  # nothing can be written over it, whoever asks
    with pytest.raises(StillhouseError, match=r"choose another place with --out FILE"):
        write_report(str(study))
    assert Path(write_report(str(study), str(tmp_path / "new/page.html"))).stat().st_size > 1000
