"""Processes of the tests, forked from one that has loaded what they would load: `fork_server.py SOCKET ROOM`.

Ray reads its settings when it is loaded, so that the workers of each raylet have a template of their own: forked from
the first process, it loads Ray in their environment, and is forked on for each worker. ROOM is as long as a command of
a process that the system can show.
"""

import contextlib
import ctypes
import gc
import importlib
import marshal
import os
import runpy
import select
import signal
import socket
import sys
from pathlib import Path

LIBRARIES = (
    "numpy", "pandas", "pyarrow.parquet", "pyarrow.fs", "fsspec", "jsonschema", "pydantic", "optuna", "torch",
    "torch.distributed", "transformers", "transformers.models.auto.modeling_auto", "safetensors.torch",
    "transformers.models.bert.modeling_bert",
)  # fmt: skip
OF_WORKERS = ("ray._private.workers.default_worker", "ray.tune", "ray.train.torch")
RAYLET = "RAY_RAYLET_PID"
MOST_BYTES, MOST_FILES = 200_000, 200
COMMAND, ENVIRONMENT = 48, 50
"""Fields of /proc/PID/stat: where the system reads what it shows of a process."""


def load(names):
    """Import, and keep the collection of garbage away from what the children share."""
    for name in names:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


class Server:
    """Forks for each order, which it takes from clients on its socket or, as a template, from the first server."""

    def __init__(self, inlet, is_template):
        self.inlet, self.is_template = inlet, is_template
        self.children, self.waiting, self.templates = {}, {}, {}
        self.poll = select.poll()
        self.poll.register(inlet, select.POLLIN)
        if not is_template:
            self.poll.register(sys.stdin, select.POLLIN)

    def serve(self):
        """Returns in each child, with its order and its open files."""
        while True:
            for number, _ in self.poll.poll():
                if number in self.children:
                    self.tell_end(number)
                elif number in self.waiting:
                    self.kill(number)
                elif (taken := self.take(number)) is None:
                    self.end()
                elif (child := self.answer(*taken)) is not None:
                    return child

    def take(self, number):
        """An order as bytes, its connection, its open files; None when there are no more."""
        if number == sys.stdin.fileno():
            return None
        source = self.inlet if self.is_template else self.inlet.accept()[0]
        text, files, _, _ = socket.recv_fds(source, MOST_BYTES, MOST_FILES)
        if self.is_template:
            return (text, files[0], files[1:]) if text else None
        return text, source.detach(), files

    def answer(self, text, connection, files):
        """Fork, or have a template fork. Returns in the child only."""
        if not text:
            return os.close(connection)
        order = marshal.loads(text)
        raylet = order["environment"].get(RAYLET)
        if raylet and not self.is_template:
            if raylet not in self.templates:
                self.templates[raylet], own = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                if not os.fork():
                    self.release(connection, *files)
                    os.environ.update(order["environment"])
                    load(OF_WORKERS)
                    return self.__init__(own, is_template=True)
                own.close()
            socket.send_fds(self.templates[raylet], [text], [connection, *files])
            os.close(connection)
        elif not (pid := os.fork()):
            self.release(connection)
            return order, files
        else:
            self.children[ended := os.pidfd_open(pid)] = pid, connection
            self.waiting[connection] = pid
            for each in (ended, connection):
                self.poll.register(each, select.POLLIN)
            os.write(connection, pid.to_bytes(8, "little"))
        for each in files:
            os.close(each)
        return None

    def release(self, *more):
        """A child lets go of what its server holds."""
        for each in (self.inlet, *self.templates.values()):
            each.close()
        for each in (*self.children, *self.waiting, *more):
            os.close(each)

    def tell_end(self, number):
        """A child has ended: let its client end in the same way."""
        pid, connection = self.children.pop(number)
        _, status = os.waitpid(pid, 0)
        self.drop(number)
        if self.waiting.pop(connection, None):
            with contextlib.suppress(BrokenPipeError):
                os.write(connection, status.to_bytes(8, "little"))
            self.drop(connection)

    def kill(self, number):
        """A client was killed: so is its child."""
        os.kill(self.waiting.pop(number), signal.SIGKILL)
        self.drop(number)

    def drop(self, number):
        """Close what was polled."""
        self.poll.unregister(number)
        os.close(number)

    def end(self):
        """Leave no process."""
        for pid, _ in self.children.values():
            os.kill(pid, signal.SIGKILL)
        for template in self.templates.values():
            template.close()
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        os._exit(0)


def become(order, files):
    """Take on what a new process has from the one that starts it; returns its arguments."""
    os.setsid()
    beyond = max([*files, *order["files"]]) + 1
    for place, each in enumerate(files):
        os.dup2(each, beyond + place)
        os.close(each)
    for place, number in enumerate(order["files"]):
        os.dup2(beyond + place, number)
        os.close(beyond + place)
    os.chdir(order["folder"])
    os.umask(order["umask"])
    arguments, environment = order["arguments"], order["environment"]
    os.environ.clear()  # no pointer leads into the old environment any more
    names = sorted(environment, key=lambda name: not name.startswith("STILLHOUSE"))
    show(ENVIRONMENT, [f"{name}={environment[name]}" for name in names])
    os.environ.update(environment)
    if arguments[0].endswith("/setup_worker.py"):
        arguments = set_up(arguments)
    show(COMMAND, [sys.executable, *arguments])
    sys.executable = order["python"]  # for what it starts in its turn
    for each in order["ignored"]:
        signal.signal(each, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, order["mask"])
    sys.modules["numpy"].random.seed()  # Python's own is new in each child, torch's is the same in each new process
    if "OMP_NUM_THREADS" in os.environ:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    return arguments


def set_up(arguments):
    """What setup_worker.py of Ray does for a worker with variables of its own; returns the arguments of the worker."""
    context = importlib.import_module("ray._private.runtime_env.context").RuntimeEnvContext
    for each in arguments:
        if each.startswith("--serialized-runtime-env-context="):
            wanted = context.deserialize(each.partition("=")[2])
            importlib.import_module("ray._private.utils").update_envs(wanted.env_vars)
    return [each for each in arguments[1:] if not each.startswith(("--serialized-runtime-env-context=", "--language="))]


def show(field, texts):
    """Let the system show these texts, as far as there is room."""
    numbers = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = (int(numbers[field - 3 + place]) for place in (0, 1))
    text = "\0".join(texts).encode(errors="surrogateescape")[: end - start - 1]
    ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


if __name__ == "__main__":
    load(LIBRARIES)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(sys.argv[1])
    listener.listen(64)
    server = Server(listener, is_template=False)
    sys.argv = become(*server.serve())
    own = [os.path.dirname(sys.argv[0]), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.path[:1] = own
    runpy.run_path(sys.argv[0], run_name="__main__")
