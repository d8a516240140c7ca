"""A forked process is to its starter what a process of Python is."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from forks import SWITCH
from processes import exposed, listening, marked

PROGRAM = """
import json, os, random, signal, socket, sys, time
listener = socket.create_server(("127.0.0.1", 0))
print(json.dumps({
    "pid": os.getpid(), "arguments": sys.argv[1:], "folder": os.getcwd(), "first": sys.path[0], "name": __name__,
    "variable": os.environ.get("STILLHOUSE_TEST_MARK"), "umask": os.umask(0), "input": sys.stdin.readline(),
    "modules": "torch" in sys.modules, "ours": "search" in sys.modules, "random": random.random(),
    "extra": os.read(int(sys.argv[1]), 4).decode(),
}), flush=True)
if "wait" in sys.argv:
    time.sleep(60)
sys.exit(7)
"""


@pytest.fixture
def start(tmp_path, forking_python):
    """Start the program with its arguments and a mark: (its process, what it says)."""
    if forking_python == sys.executable:
        pytest.skip(f"{SWITCH}=0")
    program = tmp_path / "search" / "toy.py"
    program.parent.mkdir()
    program.write_text(PROGRAM)

    def run(*arguments):
        read, write = os.pipe()
        os.write(write, b"pipe")
        process = subprocess.Popen(
            [forking_python, str(program), str(read), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=os.environ | {"STILLHOUSE_TEST_MARK": tmp_path.name}, cwd=tmp_path, text=True, umask=0o027,
            pass_fds=[read],
        )  # fmt: skip
        process.stdin.write("a line\n")
        process.stdin.flush()
        os.close(read)
        os.close(write)
        return process, json.loads(process.stdout.readline())

    return run


def test_a_forked_process_gets_what_a_new_one_gets(start, tmp_path):
    process, said = start("a", "b c")
    assert process.wait(30) == 7
    assert said["arguments"][1:] == ["a", "b c"] and said["folder"] == str(tmp_path) and said["name"] == "__main__"
    assert said["first"] == str(tmp_path / "search") and said["variable"] == tmp_path.name
    assert (said["umask"], said["input"], said["extra"]) == (0o027, "a line\n", "pipe")
    assert said["modules"] and not said["ours"] and said["pid"] != process.pid
    other, again = start()
    assert other.wait(30) == 7 and again["random"] != said["random"]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it_and_the_system_shows_what_it_is(start, tmp_path, sent):
    process, said = start("wait")
    assert {process.pid, said["pid"]} == set(marked(tmp_path.name))
    ports = listening(tmp_path.name)
    assert len(ports) == 1 and not exposed(ports) and "toy.py" in ports[0][1]
    process.send_signal(sent)
    assert process.wait(30) == -sent
    deadline_s = time.monotonic() + 10
    while marked(tmp_path.name) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert not marked(tmp_path.name)
