"""The commands that show a study: front, best, report, watch, compare, profile, dashboard.

Analysis is imported when a command runs; main.py gives these functions their names on the command line.
"""

import argparse
import json
import sys
from pathlib import Path

from search.cli.arguments import (
    add_folder,
    add_limits,
    add_port,
    add_precision,
    add_profile_name,
    parse_count,
    parse_number,
)
from spaces.errors import SpecError
from spaces.records.latency import FIXED, OF_TASKS
from spaces.records.runtimes import FLOAT_PRECISION, RUNTIMES


def say(line: str) -> None:
    """Lines appear when they are written, in a pipe as well."""
    print(line, flush=True)


def front(args: argparse.Namespace) -> None:
    """Show the front."""
    from rich.console import Console

    from analysis.page.terminal import front_text
    from search.cli.picking import load_study, plain_rows

    study = load_study(args)
    if args.json or args.csv or args.parquet:
        rows = study.front(args.objectives)
        if args.json:
            print(json.dumps(plain_rows(rows), indent=2))
        if args.csv:
            rows.to_csv(sys.stdout, index=False)
        if args.parquet:
            Path(args.parquet).parent.mkdir(parents=True, exist_ok=True)
            rows.to_parquet(args.parquet, index=False)
            print(f"written to {args.parquet}", file=sys.stderr)
        return
    console, terminal = Console(), sys.stdout.isatty()
    width = console.width if terminal and not args.wide else None
    console.print(front_text(study, args.objectives, width), crop=False, soft_wrap=not terminal)


def best(args: argparse.Namespace) -> None:
    """Pick one student."""
    from search.cli.picking import pick_by, pick_json, pick_text

    study, chosen = pick_by(args)
    if args.json:
        print(pick_json(chosen))
        return
    print(pick_text(study, chosen))
    print(f"to export it: stillhouse export {args.folder} my-student --trial {chosen.trial['trial']}")


def chosen_trial(args: argparse.Namespace) -> int:
    """The trial that is named, or the pick under the limits, which is told."""
    if args.trial is not None:
        return args.trial
    from search.cli.picking import pick_by

    _, chosen = pick_by(args)
    say(f"trial {chosen.trial['trial']}: {chosen.reason}")
    return int(chosen.trial["trial"])


def table(args: argparse.Namespace) -> None:
    """Print the table of a comparison, as Markdown."""
    from analysis import load
    from analysis.page.comparison import comparison_text

    text = comparison_text(load(args.folder))
    if not text:
        raise SpecError([f"{args.folder} is a search (no [comparison]), or none of its trials has finished"])
    print(text)


def report(args: argparse.Namespace) -> None:
    """Write the HTML page."""
    from analysis.page.report import write_report

    say(f"written to {write_report(args.folder, args.out, args.profile)}")


def watch(args: argparse.Namespace) -> None:
    """Show a study while it runs."""
    from analysis.page.watch import serve, watch_text

    if args.text:
        from rich.console import Console

        watch_text(args.folder, args.every, Console())
    else:
        serve(args.folder, args.port, say)


def compare(args: argparse.Namespace) -> None:
    """Write the page of several studies."""
    from analysis import load
    from analysis.page.report import write_page
    from analysis.page.studies import differences, overview, several_page
    from search.cli.picking import plain_rows

    studies = [load(folder) for folder in args.folders]
    for note in differences(studies):
        print(note, file=sys.stderr)
    if args.json:
        print(json.dumps(plain_rows(overview(studies)), indent=2))
        return
    say(f"written to {write_page(several_page(studies), args.out)}")


def profile(args: argparse.Namespace) -> None:
    """Measure costs again, elsewhere."""
    from search.phases.bundles import import_bundle, write_bundle
    from search.phases.profiling import profile_study
    from spaces.records.latency import ProfileSpec

    setting = ProfileSpec(
        args.device, args.threads, args.batch, args.length, args.runtime, args.precision, args.lengths
    )
    trials = args.trial or (None if args.all else [int(trial) for trial in _front_trials(args.folder)])
    if args.bundle:
        write_bundle(args.folder, setting, trials, args.bundle, say)
        return
    if args.measured:
        name = import_bundle(args.folder, args.measured, name=args.name, say=say)
    else:
        name = profile_study(args.folder, setting, trials, name=args.name, say=say)
    say(f"to see the front with these latencies: stillhouse front {args.folder} --profile {name}")


def _front_trials(folder: str) -> list[int]:
    from analysis import load

    study = load(folder)
    return study.front(["quality", "parameters"])["trial"].tolist()


def dashboard(args: argparse.Namespace) -> None:
    """Open optuna-dashboard on a study."""
    from search.cli.dashboard import serve_dashboard, write_journal

    if args.journal:
        say(f"written to {write_journal(args.folder, args.journal)}; optuna-dashboard {args.journal} opens it")
    else:
        serve_dashboard(args.folder, args.port, say)


def add_front(parser: argparse.ArgumentParser) -> None:
    """Arguments of `front`."""
    add_folder(parser)
    parser.add_argument("--objectives", nargs="+", metavar="NAME", help="instead of the study's: quality latency_ms")
    add_profile_name(parser)
    parser.add_argument("--wide", action="store_true", help="all columns, whatever the width of the terminal")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--csv", action="store_true", help="print the rows as CSV")
    parser.add_argument("--parquet", metavar="FILE", help="write the rows as Parquet")


def add_table(parser: argparse.ArgumentParser) -> None:
    """Arguments of `table`."""
    add_folder(parser)


def add_best(parser: argparse.ArgumentParser) -> None:
    """Arguments of `best`."""
    add_folder(parser)
    add_limits(parser)
    parser.add_argument("--json", action="store_true", help="print the whole row, the reason and the runner-up as JSON")


def add_report(parser: argparse.ArgumentParser) -> None:
    """Arguments of `report`."""
    add_folder(parser)
    parser.add_argument("--out", metavar="FILE", help="default DIR/report.html")
    add_profile_name(parser)


def add_watch(parser: argparse.ArgumentParser) -> None:
    """Arguments of `watch`."""
    add_folder(parser)
    add_port(parser)
    parser.add_argument("--text", action="store_true", help="in the terminal instead of the browser")
    parser.add_argument("--every", type=parse_number, default=2.0, metavar="S", help="seconds between looks of --text")


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Arguments of `compare`."""
    parser.add_argument("folders", nargs="+", metavar="DIR", help="study folders or URIs, two or more")
    parser.add_argument("--out", metavar="FILE", default="compare.html", help="default compare.html")
    parser.add_argument("--json", action="store_true", help="print a row per study as JSON instead")


def add_profile(parser: argparse.ArgumentParser) -> None:
    """Arguments of `profile`."""
    add_folder(parser)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default cpu")
    parser.add_argument("--runtime", choices=RUNTIMES, default="torch", help="default torch")
    add_precision(parser, "under onnx and openvino", FLOAT_PRECISION, FLOAT_PRECISION)
    parser.add_argument("--threads", type=parse_count, default=1, metavar="N", help="CPU threads; default 1")
    parser.add_argument("--batch", type=parse_count, default=1, metavar="N", help="texts at a time; default 1")
    parser.add_argument("--length", type=parse_count, default=128, metavar="N", help="tokens of a text; default 128")
    parser.add_argument(
        "--lengths", choices=(FIXED, OF_TASKS), default=FIXED,
        help="with --bundle, tasks: texts as long as those of the study's tasks; default fixed",
    )  # fmt: skip
    parser.add_argument("--trial", type=int, nargs="+", metavar="ID", help="these students instead of the front")
    parser.add_argument("--all", action="store_true", help="every finished trial instead of the front")
    parser.add_argument("--bundle", metavar="TO", help="write files and a program that times them elsewhere")
    parser.add_argument("--import", dest="measured", metavar="FILE", help="take what that program measured")
    parser.add_argument("--name", help="name of the profile; default: its setting and the fingerprint of the machine")


def add_dashboard(parser: argparse.ArgumentParser) -> None:
    """Arguments of `dashboard`."""
    add_folder(parser)
    add_port(parser)
    parser.add_argument("--journal", metavar="FILE", help="only write Optuna's journal file, for tools that read it")
