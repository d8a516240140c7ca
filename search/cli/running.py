"""The commands that search, and the one that says what would be run: check, run, resume, confirm, promote.

The search is imported when a command runs; main.py gives these functions their names on the command line.
"""

import argparse
import signal
import sys
from typing import Any

from search.cli.arguments import add_address, add_choice, add_cluster, add_folder, add_set, parse_count
from search.cli.seeing import chosen_trial, say
from spaces.errors import SpecError


def check(args: argparse.Namespace) -> None:
    """Read a spec and say what it would run."""
    from search.phases.description import describe
    from search.phases.doors import open_doors
    from search.spec.explain import explain, schema

    if args.explain or args.schema:
        sys.stdout.write(explain() if args.explain else schema())
        return
    if args.spec is None:
        raise SpecError(["which spec? stillhouse check SPEC"])
    seen = open_doors(args.spec, args.set)
    print("\n".join([*describe(seen.study, seen.data), *seen.lines]))
    print(f"\nno problems. To run it: stillhouse run {args.spec}")


def run(args: argparse.Namespace) -> None:
    """Search."""
    driver = driver_at(args.address)
    from search.phases.runner import run_spec

    end(run_spec(args.spec, args.folder, driver, args.set))


def resume(args: argparse.Namespace) -> None:
    """Go on with a study."""
    driver = driver_at(args.address)
    from search.phases.runner import resume as resume_study

    end(resume_study(args.folder, driver, args.set))


def confirm(args: argparse.Namespace) -> None:
    """Run the best students again with other seeds."""
    driver = driver_at(args.address)
    from search.phases.runner import confirm as confirm_study

    end(confirm_study(args.folder, driver, args.top, args.seeds))


def promote(args: argparse.Namespace) -> None:
    """Distil a student again with more tokens."""
    driver = driver_at(args.address)
    from search.phases.promote import Promotion
    from search.phases.promote import promote as promote_trial

    promotion = Promotion(args.train_tokens, args.seeds, args.workers, args.go_on)
    end(promote_trial(args.folder, args.to, chosen_trial(args), promotion, driver))


def driver_at(address: str | None) -> Any:
    """Where a study runs, a Driver: at an address, or on this machine, by the Ray of `stillhouse up` where that waits.

    Ray reads these settings when it is imported.
    """
    from search.tune.environment import import_everywhere, private_cluster, quiet_environment
    from search.tune.kept_ray import take

    answer_interrupts()
    quiet_environment()
    kept = None
    if address is None:
        import_everywhere()
        kept = take(say)
        private_cluster(None if kept is None else kept.token)
    from search.phases.runner import Driver

    return Driver(address, say, kept)


def answer_interrupts() -> None:
    """Take SIGINT back where a shell has it ignored, as it does for background jobs, so that a run can be stopped."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end(outcome: object) -> None:
    """A study that was stopped before its end leaves with the exit code of an interrupted program."""
    if not getattr(outcome, "ended", ""):
        raise SystemExit(130)


def add_check(parser: argparse.ArgumentParser) -> None:
    """Arguments of `check`."""
    parser.add_argument("spec", nargs="?", metavar="SPEC", help="spec file (TOML)")
    add_set(parser)
    parser.add_argument("--explain", action="store_true", help="print every key with its default and meaning")
    parser.add_argument(
        "--schema", action="store_true", help="print the JSON schema with which editors complete a spec (#:schema PATH)"
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Arguments of `run`."""
    parser.add_argument("spec", metavar="SPEC", help="spec file (TOML)")
    parser.add_argument("folder", nargs="?", metavar="DIR", help="study folder or URI; default studies/NAME")
    add_cluster(parser)


def add_resume(parser: argparse.ArgumentParser) -> None:
    """Arguments of `resume`."""
    parser.add_argument("folder", metavar="DIR", help="study folder")
    add_cluster(parser)


def add_confirm(parser: argparse.ArgumentParser) -> None:
    """Arguments of `confirm`."""
    add_folder(parser)
    parser.add_argument("--top", type=parse_count, default=5, metavar="N", help="students of the front; default 5")
    parser.add_argument(
        "--seeds", type=parse_count, default=3, metavar="N", help="seeds of each, its first one counted; default 3"
    )
    add_address(parser)


def add_promote(parser: argparse.ArgumentParser) -> None:
    """Arguments of `promote`."""
    add_folder(parser)
    parser.add_argument("to", metavar="TO", help="folder of the promoted study")
    add_choice(parser)
    parser.add_argument(
        "--train-tokens", type=parse_count, metavar="N", help="tokens of each seed; default ten times the search's"
    )
    parser.add_argument("--seeds", type=parse_count, default=3, metavar="N", help="default 3; the best is exported")
    parser.add_argument("--workers", type=parse_count, metavar="N", help="data-parallel workers of each seed")
    parser.add_argument("--go-on", action="store_true", help="from the trial's weights instead of from scratch")
    add_address(parser)
