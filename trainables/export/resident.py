"""`memory_mb`: the peak resident memory of a fresh process that loads what is deployed and runs one batch.

It holds the interpreter and the libraries as well, which for a small student are most of it: that is what a service is
given. `peak_memory_mib` is of weights and activations alone.
"""

import subprocess
import sys
from collections.abc import Mapping

from spaces.errors import StillhouseError
from spaces.records.costs import MEMORY, Subject
from trainables.export import memory_script

LONGEST_S = 600
"""A process that takes longer hangs."""


def memory_columns(subject: Subject) -> Mapping[str, float | None]:
    """Megabytes, for one batch of the longest texts that are timed; None where it was not asked for.

    Raises StillhouseError with what the process said last when it fails.
    """
    setting = subject.latency
    if not setting.memory or setting.device != "cpu":
        return {MEMORY.column: None}
    length = max(subject.lengths, default=setting.sequence_length)
    command = [
        sys.executable, "-P", str(memory_script.__file__), str(subject.file or subject.folder()),
        *map(str, (setting.batch_size, length, setting.threads)),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        raise StillhouseError(f"memory_mb: the process that loads a student took more than {LONGEST_S} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise StillhouseError(f"memory_mb: the process that loads a student failed: {last}")
    return {MEMORY.column: float(done.stdout.split()[-1])}
