"""The fork server of the tests: Ray's workers and the drivers of tests start without loading their libraries again."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
SWITCH = "STILLHOUSE_FORKS"
"""Set to 0, every process starts as it does for a user."""
ROOM = {"STILLHOUSE_ROOM": "x" * 20_000}
"""So long an environment of a forked process can be shown by the system."""
COMMAND_ROOM = "x" * 4_000
START_S = 240.0


@contextlib.contextmanager
def stand_in():
    """A path to take for `sys.executable`: what the server has libraries for is forked from it, the rest is Python's.

    Raises RuntimeError when the server does not start.
    """
    if os.environ.get(SWITCH) == "0":
        yield sys.executable
        return
    with tempfile.TemporaryDirectory(prefix="forks") as folder:
        client, address = Path(folder) / "python", Path(folder) / "socket"
        client.write_text(f"#!{sys.executable} -SI\n{(HERE / 'fork_client.py').read_text()}")
        client.chmod(0o755)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | ROOM
        command = [sys.executable, str(HERE / "fork_server.py"), str(address), COMMAND_ROOM]
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as server:
            deadline_s = time.monotonic() + START_S
            while not address.exists():
                if server.poll() is not None or time.monotonic() > deadline_s:
                    server.kill()
                    raise RuntimeError(f"the fork server did not start; {SWITCH}=0 does without it")
                time.sleep(0.05)
            yield str(client)  # the end of its input ends the server with all that it has forked
