"""Ray nodes of one machine that share no disk: each has a home folder of its own, and an S3 server is all in common."""

import contextlib
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import toy
from processes import marked

LIMIT_S = 300
CACHES = ("STILLHOUSE_CACHE", "STILLHOUSE_LOCAL_CACHE", "XDG_CACHE_HOME")


@contextlib.contextmanager
def s3_server(bucket):
    """A real S3 server on loopback with one bucket; yields the variables by which it is reached, as any other."""
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "invented", "AWS_SECRET_ACCESS_KEY": "invented", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        filesystem, _ = fs.FileSystem.from_uri(f"s3://{bucket}/?allow_bucket_creation=true")
        filesystem.create_dir(bucket)
        yield variables
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({} if value is None else {name: value})
        server.stop()


class NodesApart:
    """`folder` holds the home folder and the log of each node; `cache` is the URI of the cache that they share."""

    def __init__(self, folder: Path, cache: str, cpus: int = 1, **variables: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.cache, self.cpus = folder, cache, cpus
        self.mark = f"{folder.name}-{os.getpid()}-{secrets.token_hex(4)}"
        self.variables = {
            **toy.ENVIRONMENT, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0", "STILLHOUSE_TEST_MARK": self.mark,
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",  # a node with the address 127.0.0.1 is taken for one of those
            "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "10", **variables,
        }  # fmt: skip
        self.started: list[subprocess.Popen] = []

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def environment(self, name):
        """Of a node or a driver, whose home folder is made."""
        (self.folder / name).mkdir(exist_ok=True)
        own = {key: value for key, value in os.environ.items() if key not in CACHES}
        return {**own, **self.variables, "HOME": str(self.folder / name)}

    def driver(self):
        """The environment of a driver, which tells the nodes where the cache is kept; once they all run.

        A study that finds no place is refused.
        """
        until(lambda: all(self.runs(place) for place in range(len(self.started))))
        return {**self.environment("driver"), "STILLHOUSE_CACHE": self.cache}

    def add(self, cpus=None):
        """Start a node, the first one as the head, and return its process."""
        name = f"node{len(self.started) + 1}"
        joins = [f"--address={self.address}"] if self.started else ["--head", f"--port={self.port}"]
        joins += [] if self.started else ["--include-dashboard=false"]
        if self.started:
            until(self.answers)
        command = [
            sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block",
            f"--num-cpus={self.cpus if cpus is None else cpus}", "--node-ip-address=127.0.0.1",
            "--object-store-memory=80000000", *joins,
        ]  # fmt: skip
        # Ray gives a node 30 s to start. `wait` hears a signal to bash at once, which goes on to the node.
        again = (
            'trap "kill -TERM \\$!; ended=1" TERM; for attempt in 1 2 3; do "$@" & wait $! && break; '
            '[ -n "$ended" ] && { wait; break; }; done'
        )
        with (self.folder / f"{name}.txt").open("w") as log:
            self.started.append(subprocess.Popen(
                ["bash", "-c", again, "ray", *command], env=self.environment(name), cwd=self.folder,
                stdout=log, stderr=log, start_new_session=True,
            ))  # fmt: skip
        return self.started[-1]

    def runs(self, place):
        """Whether a node has started, or ended since."""
        told = (self.folder / f"node{place + 1}.txt").read_text()
        return "will now block forever" in told or self.started[place].poll() is not None

    def answers(self):
        """Whether the head listens."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def lose(self, node):
        """It is gone from one moment to the next."""
        os.killpg(node.pid, signal.SIGKILL)

    def tell(self, node):
        """It has to go, and goes when it is idle or the time for that is up."""
        node.terminate()

    def stop(self):
        """Tell all nodes to go, the head last, and wait for each."""
        for node in reversed(self.started):
            self.tell(node)
            node.wait(LIMIT_S)

    def end(self):
        """Kill whatever is left of the nodes and their drivers."""
        until(lambda: not killed(self.mark))


def killed(mark):
    """The processes that carry the mark and were still there."""
    found = marked(mark)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def until(found, limit_s=LIMIT_S):
    """Wait for the first thing that `found` gives."""
    deadline = time.monotonic() + limit_s
    while not (result := found()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return result
