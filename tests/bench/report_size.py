"""How large the page of a study is, how long it takes to write, and how long a browser takes to open it.

    python tests/bench/report_size.py [--trials 10000]

Needs Playwright and a Chromium (see tests/browser.py). "Opened" is from the navigation to the front being drawn; the
time of the main thread leaves out what other processes took from it.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "analysis")]

from browser import opened  # noqa: E402
from fake_studies import add_reports, random_rows, write_study  # noqa: E402

from analysis.page.report import write_report  # noqa: E402

RUNS = 3


def main() -> None:
    """Print one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as scratch:
        rows = random_rows(trials)
        objectives = ["quality", "parameters", "latency_ms"]
        folder = write_study(Path(scratch) / "study", rows, per_part=100, objectives=objectives)
        add_reports(folder, rows, per_part=100)
        started = time.perf_counter()
        out = write_report(str(folder))
        print(f"{trials:,} trials: written in {time.perf_counter() - started:.1f} s, ", end="")
        print(f"{Path(out).stat().st_size / 1e6:.1f} MB")
        with opened() as browser:
            for _ in range(RUNS):
                page = browser.new_page()
                devtools = page.context.new_cdp_session(page)
                devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
                started = time.perf_counter()
                page.goto(Path(out).as_uri())
                page.wait_for_function("document.querySelectorAll('#front .plot .points path').length > 0")
                spent_s = time.perf_counter() - started
                metrics = {each["name"]: each["value"] for each in devtools.send("Performance.getMetrics")["metrics"]}
                print(f"opened in {spent_s:.2f} s, of which {metrics['TaskDuration']:.2f} s of its main thread")
                page.close()


if __name__ == "__main__":
    main()
