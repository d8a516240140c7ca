"""The page in a real browser: it loads nothing, has no errors, switches, shows, pins, and texts stay texts."""

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_studies import TASKS, add_reports, finished_row, random_rows, write_part, write_study

from analysis.page.report import write_report
from analysis.page.watch import Server
from spaces.records.columns import trials_columns

COLUMNS = trials_columns(list(TASKS))
EVIL = '<img src=x onerror="document.title=1"><script>document.title=2</script>&lt;i&gt;' + "long" * 80


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory) -> SimpleNamespace:
    """A study with hostile names, open in one page for all tests of this file."""
    folder = tmp_path_factory.mktemp("page")
    rows = [row | {"initialisation": EVIL} if row["trial"] % 3 else row for row in random_rows(40, seed=2)]
    rows += [finished_row(60, 0.2, method="mlm"), finished_row(61, 0.3, method=EVIL)]
    rows += [finished_row(62 + seed, 0.4 + seed / 50, (2, 128), seed=seed, learning_rate=2e-3) for seed in range(3)]
    rows.append({**finished_row(65, 0.1), "status": "stopped", "rung": 1, "train_tokens": 20_000})
    study = write_study(folder / "study", rows, name=EVIL)
    add_reports(study, rows)
    out = write_report(str(study))
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(20_000)
    problems: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(Path(out).as_uri())
    page.wait_for_function("document.querySelectorAll('#front .plot .points path').length > 0")
    yield SimpleNamespace(page=page, problems=problems, requests=requests, url=Path(out).as_uri())
    page.close()


def front_member(page) -> tuple[float, float]:
    """Where the page shows the last point that the front figure drew."""
    box = page.locator("#front .plot .points path.point").last.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_page_draws_everything_and_asks_for_nothing(opened: SimpleNamespace) -> None:
    page = opened.page
    count = page.locator(".plot").count()
    for i in range(count):  # what comes into view is drawn
        page.evaluate(f"document.querySelectorAll('.plot')[{i}].scrollIntoView()")
        page.wait_for_function(f"document.querySelectorAll('.plot')[{i}]._fullLayout")
    assert count >= 8
    assert opened.problems == []
    assert opened.requests == [opened.url]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_hostile_names_stay_text(opened: SimpleNamespace) -> None:
    page = opened.page
    assert page.locator("main img, main iframe, main script:not([type='application/json'])").count() == 0
    assert page.title().startswith(EVIL) and page.title().endswith("stillhouse study")
    assert EVIL in page.locator(".eyebrow").inner_text()


def test_the_switch_changes_the_axis(opened: SimpleNamespace) -> None:
    page = opened.page
    title = "document.querySelector('#front .plot').layout.xaxis.title.text"
    assert page.evaluate(title) == "parameters"
    page.evaluate("scrollTo(0, 0)")
    page.locator("#front .updatemenu-button").nth(1).click()
    page.wait_for_function(f"{title} === 'median latency, ms'")
    page.locator("#front .updatemenu-button").nth(0).click()
    page.wait_for_function(f"{title} === 'parameters'")


def test_hovering_shows_the_whole_configuration(opened: SimpleNamespace) -> None:
    page = opened.page
    page.evaluate("document.querySelector('#front').scrollIntoView()")
    page.wait_for_timeout(300)  # plotly finds the page scrolled
    page.mouse.move(*front_member(page))
    page.wait_for_selector("#front .hoverlayer .hovertext")
    text = page.locator("#front .hoverlayer .hovertext").first.text_content()
    for words in ("quality", "learning rate", "batch size", "num layers", "initialisation", "parameters"):
        assert words in text


def test_clicks_pin_and_unpin_and_pins_follow_the_switch(opened: SimpleNamespace) -> None:
    page = opened.page
    assert page.locator(".pins").is_hidden()
    page.evaluate("document.querySelector('#front').scrollIntoView()")
    page.wait_for_timeout(300)
    page.mouse.click(*front_member(page))
    page.wait_for_selector(".pins table td")
    ring = "document.querySelector('#front .plot').data.find((trace) => trace.meta === 'pinned')"
    before = page.evaluate(f"{ring}.x[0]")
    trial = page.locator(".pins th").nth(1).inner_text()
    assert trial.startswith("A: trial ")
    labels = page.locator(".pins th[scope=row]").all_inner_texts()
    assert {"student", "quality", "parameters", "median latency, ms", "learning rate", "package"} <= set(labels)
    page.locator("#front .updatemenu-button").nth(1).click()
    page.wait_for_function(f"{ring}.x[0] !== {before}")
    page.locator("#front .updatemenu-button").nth(0).click()
    page.wait_for_function(f"{ring}.x[0] === {before}")
    page.get_by_role("button", name="unpin").click()
    page.wait_for_selector(".pins", state="hidden")
    assert opened.problems == []


def test_the_live_page_takes_new_rows_and_keeps_pins_and_view(browser, tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", [finished_row(0, 0.5, (2, 128)), finished_row(1, 0.7, (4, 256))])
    with Server(str(folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            page = browser.new_page(viewport={"width": 1000, "height": 900})
            problems: list[str] = []
            page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
            page.goto(server.url)
            page.wait_for_function(f"document.querySelector('.live')?.textContent === 'live: {server.watcher.words}'")
            page.wait_for_function("document.querySelectorAll('#front .plot .points path').length > 0")
            page.locator("#front .updatemenu-button").nth(1).click()
            page.evaluate("document.querySelector('#front').scrollIntoView()")
            page.wait_for_timeout(300)
            page.mouse.click(*front_member(page))
            page.wait_for_selector(".pins table td")
            write_part(folder / "trials", "part-00009.parquet", COLUMNS, [finished_row(2, 0.9, (6, 384))])
            page.wait_for_function("document.querySelector('h1').textContent.startsWith('3 of 3 finished')")
            page.wait_for_selector(".pins table td")
            title = "document.querySelector('#front .plot').layout.xaxis.title.text"
            page.wait_for_function(f"{title} === 'median latency, ms'")
            assert problems == [] and page.locator("#front .points path.point").count() >= 3
            page.close()
        finally:
            server.shutdown()
            thread.join()


def test_a_phone_reads_it_without_scrolling_sideways_by_day_and_by_night(opened: SimpleNamespace) -> None:
    page = opened.page
    page.set_viewport_size({"width": 390, "height": 844})
    background = "getComputedStyle(document.body).backgroundColor"
    page.wait_for_function("document.querySelector('#front .plot')._fullLayout.width <= 390")
    page.wait_for_function("document.documentElement.scrollWidth <= 390")  # once all figures have followed
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(background) == "rgb(20, 23, 27)"
    page.emulate_media(media="print")
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    assert page.locator("details").first.is_hidden()


def test_on_a_phone_the_row_of_buttons_is_a_list(opened: SimpleNamespace) -> None:
    page = opened.page
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(media="screen", color_scheme="light")
    page.reload()
    page.evaluate("document.querySelector('#front').scrollIntoView()")  # figures are drawn when they come into sight
    page.wait_for_function("document.querySelectorAll('#front .plot .points path').length > 0")
    page.locator("#front .updatemenu-header").click()
    page.locator("#front .updatemenu-dropdown-button").nth(1).click()
    page.wait_for_function("document.querySelector('#front .plot').layout.xaxis.title.text === 'median latency, ms'")
    edge = "document.querySelector('#front .updatemenu-header').getBoundingClientRect().right"
    assert page.evaluate(edge) <= 390 and opened.problems == []
