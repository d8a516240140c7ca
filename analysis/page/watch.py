"""A study while it runs: the page, served on this machine only, or a view for the terminal.

The server reads and never writes. It listens on the loopback interface, answers only requests that name it as such (so
that no web page can reach it under a name of its own, DNS rebinding), and only GET. Parts that were read stay in
memory, so a look costs what is new, on a remote store as well.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from hashlib import sha256
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow.fs
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from analysis.page.report import content, page
from analysis.page.terminal import front_text
from analysis.selection.front import hypervolume_history
from analysis.study.table import SHOWN, StudyTable, load_table
from analysis.words import decimal, plural, student_name
from spaces.errors import StillhouseError
from spaces.records.filesystems import open_filesystem
from spaces.records.parts import Kept, dataset_files, key_of, numbers_in
from spaces.records.state import SEARCHING, RunState, read_state

HOST = "127.0.0.1"
LOOK_EVERY_S = 1.0
LAST_ROWS = 8
BLOCKS = "▁▂▃▄▅▆▇█"
SPARKS = 60


class Watcher:
    """The newest state of a study folder: a version that changes with its files, and the study read at that version."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.kept: Kept = {}
        self.version = ""
        self.study: StudyTable | None = None
        self.problem = ""
        self.open_trials = 0
        self.state: RunState | None = None
        self.looked_s = 0.0
        self.lock = threading.Lock()

    def look(self) -> None:
        """Read the folder again if its files have changed, at most once a second."""
        with self.lock:
            if time.monotonic() - self.looked_s < LOOK_EVERY_S and self.version:
                return
            try:
                filesystem, path = open_filesystem(self.folder)
                self.state = read_state(filesystem, path)
                version = fingerprint(self.folder)
                if version != self.version:
                    self.study = load_table(self.folder, self.kept)
                    self.version = version
                self.open_trials = count_open(self.folder)
                self.problem = ""
            except (StillhouseError, OSError) as error:
                self.problem = str(error)
                self.version = self.version if self.study else f"none, {self.state}"
            self.looked_s = time.monotonic()

    @property
    def words(self) -> str:
        """One line on where the study stands."""
        if self.study is None:
            return self.state.words if self.state else f"waiting for a study: {self.problem}"
        beside = "".join(f", {plural(count, what)}" for what, count in self.study.beside.items())
        words = f"{plural(len(self.study.searched), 'trial')} ended, {self.study.planned}{beside}"
        searching = not self.is_over and (self.state is None or self.state.phase == SEARCHING)
        words += f", {self.open_trials:,} under way" if self.open_trials and searching else ""
        words += f"; {self.state.words}" if self.state and (self.is_over or self.state.phase != SEARCHING) else ""
        return f"{words}; {self.problem}" if self.problem else words

    @property
    def is_over(self) -> bool:
        """Whether a run has worked on the study and does no longer, as far as anybody can tell."""
        if self.state is not None:
            return self.state.is_over
        whole = self.study is not None and len(self.study.searched) >= self.study.meta.num_trials
        return whole and not self.open_trials


def fingerprint(folder: str) -> str:
    """A hash of the names, sizes and times of everything that a page is made of."""
    filesystem, path = open_filesystem(folder)
    files = filesystem.get_file_info([f"{path}/study.json", f"{path}/spec.toml"])
    if files[0].type != pyarrow.fs.FileType.File:
        raise StillhouseError(f"{path}/study.json does not exist yet")
    datasets = [dataset_files(filesystem, f"{path}/{dataset}") for dataset in SHOWN]
    seen = [key_of(info) for info in (*files, *(info for each in datasets for info in (*each.parts, *each.packs)))]
    return sha256(repr(seen).encode()).hexdigest()[:16]


def count_open(folder: str) -> int:
    """Trials that were asked for and have no row yet: they run, or a resume runs them again."""
    filesystem, path = open_filesystem(folder)
    asked, ended = (numbers_in(filesystem, f"{path}/{dataset}") for dataset in ("asked", "trials"))
    return len(asked - ended)


class Server(ThreadingHTTPServer):
    """Serves one study; `url` is where. Close it with `shutdown` and `server_close`."""

    daemon_threads = True

    def __init__(self, folder: str, port: int = 0) -> None:
        super().__init__((HOST, port), Handler)
        self.watcher = Watcher(folder)
        self.bodies: dict[str, str] = {}
        self.names = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/"

    def body(self) -> str:
        """The content of the page at the newest version."""
        watcher = self.watcher
        with watcher.lock:
            if watcher.study is None:
                return f"<header><h1>No trial yet.</h1><p>{escape(watcher.words)}</p></header>"
            if watcher.version not in self.bodies:
                self.bodies = {watcher.version: content(watcher.study)}
            return self.bodies[watcher.version]


class Handler(BaseHTTPRequestHandler):
    """GET /, /body and /state."""

    server: Server
    server_version = "stillhouse"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer, or say why not."""
        if self.headers.get("Host") not in self.server.names:
            self.send_error(HTTPStatus.FORBIDDEN, "this server answers on the loopback interface only")
            return
        path = self.path.split("?")[0]
        if path == "/":
            self.server.watcher.look()
            name = self.server.watcher.study.meta.name if self.server.watcher.study else "stillhouse"
            self.answer(page(str(name), self.server.body(), "watch.js"), "text/html")
        elif path == "/body":
            self.answer(self.server.body(), "text/html")
        elif path == "/state":
            self.server.watcher.look()
            state = {name: getattr(self.server.watcher, name) for name in ("version", "words", "problem")}
            self.answer(json.dumps(state), "application/json")
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def answer(self, text: str, kind: str) -> None:
        """Send a text that nobody keeps and that no other page may frame or read."""
        data = text.encode()
        self.send_response(HTTPStatus.OK)
        headers = {
            "Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(data)), "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }  # fmt: skip
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not news."""


def serve(folder: str, port: int, say: Callable[[str], None]) -> None:
    """Serve the page until interrupted."""
    try:
        server = Server(folder, port)
    except OSError as error:
        raise StillhouseError(
            f"port {port} cannot be used ({error.strerror}); without --port a free one is taken"
        ) from None
    with server:
        say(f"watching {folder} at {server.url} (this machine only; Ctrl-C ends)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("ended; the study is untouched")


def watch_text(folder: str, every_s: float, console: Console) -> None:
    """Until the run is over, or interrupted: a view in place, or a line for each change where nothing can be in place.

    Both end with the whole view.
    """
    watcher, words, told = Watcher(folder), "", set[int]()
    try:
        watcher.look()
        shown = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else nullcontext()
        with shown as live:
            while not watcher.is_over:
                if live is not None:
                    live.update(view(watcher, console.width), refresh=True)
                else:
                    for line in new_trials(watcher.study, told):
                        console.print(line, markup=False, soft_wrap=True)
                    if watcher.words != words:
                        console.print(watcher.words, markup=False, soft_wrap=True)
                    words = watcher.words
                time.sleep(every_s)
                watcher.look()
        console.print(view(watcher, console.width if console.is_terminal else None), crop=False)
    except KeyboardInterrupt:
        console.print("ended; the study is untouched")


def new_trials(study: StudyTable | None, told: set[int]) -> Iterator[str]:
    """A line for each trial that ended and is not among `told`, where it is added."""
    rows = [] if study is None else study.trials[~study.trials["trial"].isin(told)].to_dict("records")
    for row in rows:
        result = f"quality {decimal(row['quality'])}" if row["status"] == "finished" else str(row["reason"] or "")
        yield f"trial {row['trial']}  {row['status']}  {student_name(row)}  {result}"
    told.update(row["trial"] for row in rows)


def view(watcher: Watcher, width: int | None) -> Group:
    """Where the study stands, its front, and what came last; `width` of the terminal, None: as wide as it needs."""
    study = watcher.study
    parts: list[Text | Table | Group] = [Text(watcher.words, style="yellow" if watcher.problem else "dim")]
    if study is None:
        return Group(*parts)
    parts.append(front_text(study, width=width))
    if len(study.finished) > 1:
        history = hypervolume_history(study)["hypervolume"]
        parts.append(Text(f"\nhypervolume {history.iloc[-1]:.3f} {sparkline(history.tolist())}"))
    last = study.trials.tail(LAST_ROWS).iloc[::-1]
    table = Table(title="\nlast trials", title_justify="left", box=None, pad_edge=False, header_style="dim")
    for name in ("trial", "status", "student", "quality", ""):
        table.add_column(name, justify="right" if name in ("trial", "quality") else "left", no_wrap=name != "")
    for row in last.to_dict("records"):
        name, reason = student_name(row), "" if row["status"] == "finished" else str(row["reason"] or "")
        cells = (str(row["trial"]), row["status"], name, decimal(row["quality"]), reason)
        table.add_row(*(Text(cell) for cell in cells))
    return Group(*parts, table)


def sparkline(values: list[float]) -> str:
    """A line of blocks, at most 60, from 0 to the largest value."""
    if len(values) > SPARKS:
        values = [values[round(i * (len(values) - 1) / (SPARKS - 1))] for i in range(SPARKS)]
    top = max(values, default=0)
    return "".join(BLOCKS[round(max(value, 0) / top * (len(BLOCKS) - 1))] if top > 0 else BLOCKS[0] for value in values)
