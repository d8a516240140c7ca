"""Stands in for Python in tests: the fork server beside it runs the program, and this process passes signals on to it.

What the server has nothing loaded for runs as ever. It loads next to nothing itself.
"""

import _signal
import _socket
import marshal
import os
import sys

SCRIPTS = ("/workers/setup_worker.py", "/workers/default_worker.py", "/search/toy.py")
PASSED_ON = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGUSR1, _signal.SIGUSR2)
LOOK_S = 5.0
"""How long a program may go on after the parent of this process has ended, once or twice over."""


def connected():
    """The connection to the server that is to run the program, or None."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        if sys.argv[1:] and sys.argv[1].endswith(SCRIPTS):
            connection.connect(os.path.join(os.path.dirname(__file__), "socket"))
            return connection
    except OSError:
        pass
    connection.close()
    return None


def order(connection):
    """Hand over what a process gets from the one that starts it, with its open files; returns the new process id."""
    held = [int(name) for name in os.listdir("/proc/self/fd")]
    held = [each for each in held if each != connection.fileno() and os.path.exists(f"/proc/self/fd/{each}")]
    os.umask(umask := os.umask(0))
    text = marshal.dumps({
        "arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd(), "umask": umask,
        "mask": [int(each) for each in _signal.pthread_sigmask(_signal.SIG_BLOCK, ())], "files": held,
        "ignored": [int(each) for each in PASSED_ON if _signal.getsignal(each) == _signal.SIG_IGN],
        "python": __file__,
    })  # fmt: skip
    rights = b"".join(each.to_bytes(4, sys.byteorder) for each in held)
    connection.sendmsg([text], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    child = int.from_bytes(connection.recv(8), "little")
    for each in held:
        os.close(each)
    return child


def outlive(connection, child):
    """Wait for the program; returns its exit code, or minus the signal that ended it."""
    for each in PASSED_ON:
        if _signal.getsignal(each) != _signal.SIG_IGN:
            _signal.signal(each, lambda number, _: os.kill(child, number))
    parent, looks = os.getppid(), 0
    connection.settimeout(LOOK_S)
    while looks < 2:
        try:
            status = connection.recv(8)
            return os.waitstatus_to_exitcode(int.from_bytes(status, "little")) if status else 1
        except TimeoutError:
            looks += os.getppid() != parent
    return 1  # the server ends the program


def main():
    if (connection := connected()) is None:
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
    code = outlive(connection, order(connection))
    if code < 0:
        if -code != _signal.SIGKILL:
            _signal.signal(-code, _signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


main()
