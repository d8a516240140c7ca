"""Arguments of the command line that several commands share, and how their texts are read."""

import argparse
import re

from spaces.records.costs import COSTS
from spaces.records.runtimes import PRECISION_RULES, PRECISIONS
from spaces.settings import broken_rules

SUFFIXES = {"k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}


def parse_number(text: str) -> float:
    """15M, 1.5k, 4, 2e6."""
    match = re.fullmatch(r"([0-9.]+(?:e[+-]?\d+)?)\s*([kmgb]?)", text.strip().lower())
    try:
        if match is None:
            raise ValueError
        value = float(match[1]) * SUFFIXES.get(match[2], 1.0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number such as 15M, 1.5k or 4.0") from None
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text!r}")
    return value


def parse_count(text: str) -> int:
    """A whole number above 0, such as 20 or 1k."""
    value = parse_number(text)
    if value != int(value):
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}")
    return int(value)


def parse_limit(text: str) -> tuple[float, bool]:
    """A number, or a share of the teacher's such as 50%: (value, is a share)."""
    if text.strip().endswith("%"):
        return parse_number(text.strip()[:-1]) / 100, True
    return parse_number(text), False


def parse_precision(text: str) -> str:
    """A precision of a file, as it stands; one that no runtime has is refused with the reason."""
    for problem in broken_rules("", PRECISION_RULES, text):
        raise argparse.ArgumentTypeError(problem.lstrip(": "))
    return text


def parse_port(text: str) -> int:
    """A port that a user may listen on."""
    if not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"must be a port from 1024 to 65535, got {text!r}")
    return int(text)


def add_folder(parser: argparse.ArgumentParser) -> None:
    """A study folder."""
    parser.add_argument("folder", metavar="DIR", help="study folder or URI")


def add_address(parser: argparse.ArgumentParser) -> None:
    """Where a search runs."""
    parser.add_argument(
        "--address",
        help="a running Ray cluster: auto or host:6379; it gets this version's code. Default: this machine alone",
    )


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """What `run` and `resume` share."""
    add_address(parser)
    add_set(parser)


def add_set(parser: argparse.ArgumentParser) -> None:
    """Settings instead of those in the spec."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="instead of the spec, such as budget.trials=40"
    )


def add_limits(parser: argparse.ArgumentParser) -> None:
    """The limits of `best`, `export` and `promote`: one for each cost."""
    for cost in COSTS.values():
        parser.add_argument(
            f"--{cost.limit.replace('_', '-')}",
            type=parse_limit,
            metavar="N",
            help=f"at most this: {cost.title} (4, 15M), or a share of the teacher's (50%%)",
        )
    parser.add_argument("--min-quality", type=float, metavar="Q", help="such as 0.9: the cheapest student that has it")
    parser.add_argument("--knee", action="store_true", help="the knee of the front, within the limits that are given")
    add_profile_name(parser)


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Which student `export` and `promote` take: a trial, or the best one within limits."""
    add_limits(parser)
    parser.add_argument("--trial", type=int, metavar="ID", help="this trial instead of the best one")


def add_profile_name(parser: argparse.ArgumentParser) -> None:
    """Latencies of another device."""
    parser.add_argument("--profile", metavar="NAME", help="latencies of this profile; the start of its name will do")


def add_precision(parser: argparse.ArgumentParser, of: str, default: str | None, told: str) -> None:
    """The precision of a file."""
    several = f"{', '.join(PRECISIONS)}; or int8+4: the 4 maps in float whose rounding moves embeddings most"
    parser.add_argument(
        "--precision", type=parse_precision, default=default, metavar="NAME", help=f"{of}: {several}; default {told}"
    )


def add_port(parser: argparse.ArgumentParser) -> None:
    """Where a local server listens."""
    parser.add_argument("--port", type=parse_port, default=0, help="port on the loopback interface; default a free one")
