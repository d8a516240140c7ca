"""The live page and the terminal view: they follow the folder, answer only on loopback, and write nothing."""

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pyarrow.fs
import pytest
from fake_studies import finished_row, trials_columns, write_part, write_study
from rich.console import Console

from analysis.page import watch
from analysis.page.report import content
from analysis.page.watch import Server, Watcher, serve, sparkline, view
from spaces.errors import StillhouseError
from spaces.records.columns import asked_columns, baselines_columns
from spaces.records.state import RunState
from spaces.students.transfer import UNTRAINED
from spaces.values import to_json


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.0)
    with Server(str(tmp_path / "study")) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(server: Server, path: str, method: str = "GET", host: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    headers = {} if host is None else {"Host": host}
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def state(server: Server) -> dict[str, str]:
    return json.loads(ask(server, "/state")[1])


def notice(folder: Path, phase: str, line: str = "", process: int = 0) -> None:
    """What a run would leave: this process, unless told."""
    folder.mkdir(exist_ok=True)
    state = RunState(phase, line, socket.gethostname(), process or os.getpid(), *[datetime.now(UTC).isoformat()] * 2)
    (folder / "state.json").write_text(to_json(state))


def test_the_page_follows_the_folder(server: Server, tmp_path: Path, fake: SimpleNamespace) -> None:
    assert "waiting for a study" in state(server)["words"] and "No trial yet" in ask(server, "/")[1]
    empty = state(server)["version"]
    notice(tmp_path / "study", "preparing", "[3/5] scores: 2 of 4 tasks")
    assert state(server)["words"] == "preparing: [3/5] scores: 2 of 4 tasks" and state(server)["version"] != empty
    assert "[3/5] scores" in ask(server, "/body")[1]
    notice(tmp_path / "study", "searching")
    folder = write_study(tmp_path / "study", [fake.row(0, 0.5)])
    first = state(server)
    assert first["words"] == "1 trial ended, 40 planned" and state(server) == first
    assert "The only finished student" in ask(server, "/body")[1]
    page = ask(server, "/")[1]
    assert "The only finished student" in page and "connect-src 'self'" in page
    read = set(server.watcher.kept)
    row = finished_row(1, 0.7, (4, 256))
    write_part(folder / "trials", "part-00001.parquet", trials_columns(list(fake.tasks)), [row])
    assert state(server)["version"] != first["version"]
    assert "2 of 2 finished students" in ask(server, "/body")[1]
    assert len(set(server.watcher.kept) - read) == 1 and read < set(server.watcher.kept)
    write_part(folder / "asked", "part-00001.parquet", asked_columns(), [{"trial": 1}])
    write_part(folder / "asked", "part-00002.parquet", asked_columns(), [{"trial": 2}])
    assert state(server)["words"] == "2 trials ended, 40 planned, 1 under way"
    version = state(server)["version"]
    write_part(folder / "baselines", "part-00000.parquet", baselines_columns(), [])
    assert state(server)["version"] != version
    (folder / "trials" / "part-00002.parquet").write_bytes(b"damaged")
    assert "is damaged" in state(server)["problem"] and "2 of 2 finished" in ask(server, "/body")[1]


def test_only_loopback_names_and_only_reading(server: Server, tmp_path: Path, fake: SimpleNamespace) -> None:
    folder = write_study(tmp_path / "study", [fake.row(0, 0.5)])
    before = sorted(path for path in folder.rglob("*"))
    assert server.server_address[0] == "127.0.0.1"
    assert ask(server, "/", host="evil.example")[0] == ask(server, "/state", host="evil.example:80")[0] == 403
    assert ask(server, "/", host=f"localhost:{server.server_port}")[0] == 200
    assert [ask(server, "/", method)[0] for method in ("POST", "PUT", "DELETE", "PATCH")] == [501] * 4
    assert ask(server, "/../spec.toml")[0] == ask(server, "/study.json")[0] == 404
    assert sorted(path for path in folder.rglob("*")) == before


def test_a_taken_port_is_said(server: Server, tmp_path: Path) -> None:
    with pytest.raises(StillhouseError, match=f"port {server.server_port} cannot be used"):
        serve(str(tmp_path), server.server_port, print)


def test_a_study_on_a_remote_store_is_watched(tmp_path: Path, fake: SimpleNamespace) -> None:
    import fsspec

    folder = write_study(tmp_path / "study", [fake.row(0, 0.5)])
    memory = fsspec.filesystem("memory")
    target = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(memory))
    pyarrow.fs.copy_files(str(folder), "/watched", destination_filesystem=target)
    watcher = Watcher("memory://watched")
    watcher.look()
    assert watcher.words == "1 trial ended, 40 planned" and watcher.study is not None


def test_what_is_no_trial_of_the_budget_is_told_apart(tmp_path: Path, fake: SimpleNamespace) -> None:
    rows = [fake.row(0, 0.3, method=UNTRAINED), fake.row(1, 0.5), fake.row(2, 0.6, seed=1), fake.row(3, 0.4, seed=2)]
    folder = write_study(tmp_path / "study", rows, num_trials=1)
    write_part(folder / "asked", "part-00004.parquet", asked_columns(), [{"trial": 4}])
    watcher = Watcher(str(folder))
    notice(folder, "preparing", "[3/5] scores")
    watcher.look()
    words = "1 trial ended, 1 planned, 1 start, 2 confirming runs"
    assert watcher.words == f"{words}; preparing: [3/5] scores"  # what a resume will run again is not under way
    assert watcher.study is not None and "1 planned; 1 start; 2 confirming runs" in content(watcher.study)
    notice(folder, "stopped", "stopped: 1 finished")
    watcher.looked_s = 0.0
    watcher.look()
    assert watcher.words == f"{words}; stopped: 1 finished" and watcher.is_over


def test_the_terminal_view(tmp_path: Path, fake: SimpleNamespace) -> None:
    watcher = Watcher(str(tmp_path / "study"))
    watcher.look()
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(view(watcher, 120))
    rows = [fake.row(0, 0.5), fake.row(1, 0.7, (4, 256)), {"trial": 2, "status": "failed", "reason": "[red]diverged"}]
    for row in rows:
        row.setdefault("method", "mha")
        row.setdefault("seed", 0)
    write_study(tmp_path / "study", rows)
    watcher.looked_s = 0.0
    watcher.look()
    console.print(view(watcher, 120))
    text = console.export_text()
    assert "waiting for a study" in text and "3 trials ended" in text and "[red]diverged" in text
    assert "hypervolume" in text and "4x256 by mha" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_the_terminal_view_follows_until_it_is_interrupted(
    terminal: bool, tmp_path: Path, fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.0)
    folder, looks = write_study(tmp_path / "study", [fake.row(0, 0.5)]), []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            columns = trials_columns(list(fake.tasks))
            write_part(folder / "trials", "part-00001.parquet", columns, [finished_row(1, 0.7, (4, 256))])
        if len(looks) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", pause)
    out = io.StringIO()
    watch.watch_text(str(folder), 1.5, Console(file=out, width=120, force_terminal=terminal))
    assert looks == [1.5] * 4 and "ended; the study is untouched" in out.getvalue()
    assert "1 trial ended" in out.getvalue() and "2 trials ended" in out.getvalue()
    if not terminal:
        assert out.getvalue().count("2 trials ended") == 1  # said once, not at every look
        assert out.getvalue().count("trial 0  finished") == 1 and "hypervolume" not in out.getvalue()


@pytest.mark.parametrize("how", ["ended", "killed", "older"])
def test_the_terminal_view_ends_with_the_run(how: str, tmp_path: Path, fake: SimpleNamespace) -> None:
    folder = write_study(tmp_path / "study", [fake.row(0, 0.5), fake.row(1, 0.7, (4, 256))], num_trials=2)
    if how == "ended":
        notice(folder, "ended", "test scores")
    if how == "killed":
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        notice(folder, "searching", "going on", gone.pid)
    out = io.StringIO()
    watch.watch_text(str(folder), 1.5, Console(file=out, width=80))
    assert "2 trials ended" in out.getvalue() and "hypervolume" in out.getvalue()
    assert ("is gone; it was searching" in out.getvalue()) == (how == "killed")


def test_a_sparkline_keeps_both_ends() -> None:
    assert sparkline([0, 0.5, 1]) == "▁▅█" or sparkline([0, 0.5, 1])[::2] == "▁█"
    assert len(sparkline(list(range(500)))) == 60 and sparkline(list(range(500)))[-1] == "█"
    assert sparkline([0.0, 0.0]) == "▁▁" and sparkline([]) == ""
