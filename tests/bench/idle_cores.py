"""How busy the cores are while a study runs, stage by stage: what more could be done at the same time.

`stillhouse run` on an empty cache; a stage begins with the first line that says so. `busy` is the share of all cores'
time that any process took: of what is left nobody made use.

    python tests/bench/idle_cores.py search/specs/quick.toml    # minutes; needs a quiet machine
"""

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import print_table, setting

STAGES = {
    "start, imports, teacher": "",
    "text and tasks": r"^\[2/5\]",
    "scores of teacher and untrained encoders": r"^\[3/5\]",
    "costs": r"^\[4/5\]",
    "targets": r"^\[5/5\]",
    "lanes start; untrained students": r"^teacher targets: .* written",
    "trials": r"^trial .*\[1/",
    "test scores and the end": "^done:",
}
"""What the line looks like that begins each stage."""


def core_s() -> tuple[float, float]:
    """(seconds of work, seconds in all) of all cores since the system started."""
    ticks = [int(each) for each in Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:9]]
    per_s = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - ticks[3] - ticks[4]) / per_s, sum(ticks) / per_s


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec")
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    changes = [part for change in options.set for part in ("--set", change)]
    with tempfile.TemporaryDirectory() as folder:
        variables = os.environ | {"STILLHOUSE_CACHE": f"{folder}/cache", "PYTHONUNBUFFERED": "1"}
        command = [str(Path(sys.executable).with_name("stillhouse")), "run", options.spec, f"{folder}/study", *changes]
        marks = [(next(iter(STAGES)), time.perf_counter(), *core_s())]
        left = dict(list(STAGES.items())[1:])
        with subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as running:
            assert running.stdout is not None
            for line in running.stdout:
                if found := next((stage for stage, sign in left.items() if re.search(sign, line)), None):
                    marks.append((found, time.perf_counter(), *core_s()))
                    names = list(left)
                    left = {stage: left[stage] for stage in names[names.index(found) + 1 :]}
        if running.returncode:
            raise SystemExit(f"the study ended with {running.returncode}")
        marks.append(("", time.perf_counter(), *core_s()))
    rows = [
        [began[0], f"{end[1] - began[1]:.0f}", f"{(end[2] - began[2]) / (end[3] - began[3]):.0%}"]
        for began, end in itertools.pairwise(marks)
    ]
    whole = (marks[-1][2] - marks[0][2]) / (marks[-1][3] - marks[0][3])
    print(setting("transformers", "ray"))
    print_table(["stage", "s", "busy"], [*rows, ["all", f"{marks[-1][1] - marks[0][1]:.0f}", f"{whole:.0%}"]])


if __name__ == "__main__":
    main()
