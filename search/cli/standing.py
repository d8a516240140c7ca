"""The commands about runs: status, stop, ls."""

import argparse
import os
import signal
import time

from search.cli.arguments import add_folder
from search.cli.seeing import say
from spaces.errors import StillhouseError

STOP_WITHIN_S = 120.0
"""A run finishes the step that it is in, writes a checkpoint, and ends its workers."""


def status(args: argparse.Namespace) -> None:
    """Say where a study stands."""
    from analysis.page.watch import Watcher
    from spaces.records.state import ENDED, GO_ON

    watcher = Watcher(args.folder)
    watcher.look()
    if watcher.study is None and watcher.state is None:
        raise StillhouseError(watcher.problem)
    say(watcher.words)
    if (state := watcher.state) is not None and not watcher.is_over:
        say(f"process {state.process} on {state.host}, since {state.since} (UTC); last told at {state.told}")
    if watcher.study is not None and len(watcher.study.finished):
        from analysis.page.text import verdict

        say(verdict(watcher.study))
    if watcher.is_over:
        whole = state is None or state.phase == ENDED
        next_step = f"stillhouse report {args.folder}" if whole else to_go_on(args.folder)
        if GO_ON not in watcher.words:
            say(f"next: {next_step}")


def to_go_on(folder: str) -> str:
    """The command that goes on with a study; one that ended while it was prepared has no spec of its own yet."""
    from search.store.parts import Store

    return f"stillhouse resume {folder}" if Store(folder).is_study() else f"stillhouse run SPEC {folder}"


def stop(args: argparse.Namespace) -> None:
    """Ask the run of a study to stop, as Ctrl-C does, and wait until it has."""
    from spaces.records.filesystems import open_filesystem
    from spaces.records.state import GO_ON, read_state

    filesystem, path = open_filesystem(args.folder)
    state = read_state(filesystem, path)
    if state is None:
        raise StillhouseError(f"no run has left a notice in {args.folder}: it is no study, or of an earlier release")
    if state.is_over:
        say(f"nothing runs here: {state.words}")
        return
    if not state.is_here:
        raise StillhouseError(f"the run is process {state.process} on {state.host}: stop it there")
    os.kill(state.process, signal.SIGINT)
    say(f"process {state.process} is asked to stop; it finishes its step, and everything that is recorded stays")
    until = time.monotonic() + STOP_WITHIN_S
    while time.monotonic() < until:
        time.sleep(0.5)
        state = read_state(filesystem, path) or state
        if state.is_over:
            say(state.line if GO_ON in state.line else f"{state.phase}. {GO_ON}{to_go_on(args.folder)}")
            return
    raise StillhouseError(
        f"process {state.process} still runs after {STOP_WITHIN_S:g} s; it may be in a long step, try again"
    )


def ls(args: argparse.Namespace) -> None:
    """List the studies below a folder."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from analysis.page.studies import listed

    rows = listed(args.root)
    if not rows:
        raise StillhouseError(f"there is no study in {args.root} or in the folders right below it")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in rows[0]:
        table.add_column(name, justify="right" if name == "trials" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row.values()))
    Console().print(table)


def add_status(parser: argparse.ArgumentParser) -> None:
    """Arguments of `status`."""
    add_folder(parser)


def add_stop(parser: argparse.ArgumentParser) -> None:
    """Arguments of `stop`."""
    add_folder(parser)


def add_ls(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ls`."""
    parser.add_argument("root", nargs="?", metavar="DIR", default="studies", help="folder or URI; default studies")
