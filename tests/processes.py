"""The processes that carry a mark in their environment, and the sockets on which they listen."""

import contextlib
import os
from pathlib import Path

LOOPBACK_MAPPED, LOOPBACK_6 = "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"


def marked(mark):
    """{process id: command line} of the processes that carry the mark in their environment."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes() and (entry / "cmdline").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def listening(mark):
    """(address in hexadecimal, command line) of every listening TCP socket of the marked processes."""
    owners = {}
    for pid, command in marked(mark).items():
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                owners[os.readlink(descriptor)] = command
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    found = [(row[1].rpartition(":")[0], f"socket:[{row[9]}]") for row in rows if row[3] == "0A"]
    return [(address, owners[socket]) for address, socket in found if socket in owners]


def exposed(ports):
    """Those that another machine could reach. The kernel writes addresses as little-endian words: 0100007F."""
    return [port for port in ports if port[0] not in ("0100007F", LOOPBACK_MAPPED, LOOPBACK_6)]
