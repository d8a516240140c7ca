"""The top of a study's page as a PNG, to the end of a section: the picture of README and quickstart is made by this.

make search
.venv/bin/python tests/bench/picture.py studies/quick docs/results/report.png --until "The front" --figure
.venv/bin/python tests/bench/picture.py studies/quick phone.png --width 390      # all of it, as a phone shows it
.venv/bin/python tests/bench/picture.py studies/x decisions.png --until "What the search decided" --alone
"""

import argparse
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import browser  # noqa: E402

from analysis.page.report import write_report  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("target", help="a PNG")
    parser.add_argument("--width", type=int, default=1090)
    parser.add_argument("--profile", metavar="NAME", help="latencies of this profile of the study")
    parser.add_argument("--until", metavar="HEADING", help="the last section to show; default all")
    parser.add_argument("--figure", action="store_true", help="of that section its first figure only")
    parser.add_argument("--alone", action="store_true", help="nothing of what stands above that section")
    args = parser.parse_args()
    begin = 0
    with tempfile.TemporaryDirectory() as scratch, browser.opened() as running:
        page = write_report(args.study, f"{scratch}/page.html", args.profile)
        view = running.new_page(viewport={"width": args.width, "height": 900})
        view.goto(f"file://{page}")
        view.wait_for_selector(".plot svg")
        end = view.evaluate("document.documentElement.scrollHeight")
        for y in (*range(0, end, 500), 0):  # figures are drawn when they come into sight
            view.evaluate(f"scrollTo(0, {y})")
            view.wait_for_timeout(200)
        if args.until:
            section = view.locator("section", has=view.get_by_role("heading", name=args.until, exact=True)).first
            box = (section.locator(".plot").first if args.figure else section).bounding_box()
            begin, end = box["y"] if args.alone else 0, box["y"] + box["height"]
        clip = {"x": 0, "y": begin, "width": args.width, "height": end - begin}
        view.screenshot(path=args.target, clip=clip, full_page=True)
    print(f"written to {args.target}, {Path(args.target).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
