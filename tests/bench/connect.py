"""From the command to a driver that Ray has taken: its own Ray against that of `stillhouse up`, in turns.

python tests/bench/connect.py                  # about a minute on two idle cores
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from trainables.machine import hardware, versions

ROOT = Path(__file__).resolve().parents[2]
DRIVER = """
import sys, time
from pathlib import Path
began = time.time()
from search.cli.running import driver_at
driver = driver_at(None)
import ray
from search.tune.cluster import cluster
from trainables.lanes.settings import ClusterSpec
imported = time.time()
with cluster(ClusterSpec(1, 1, 1, 0.0), None, Path(sys.argv[1]), driver.kept):
    connected = time.time()
    ray.get(ray.remote(lambda: 1).remote())
    print("seconds", imported - began, connected - imported, time.time() - connected)
"""
PARTS = ("imports", "Ray", "first task")


def measured(environment: dict[str, str], folder: str) -> list[float]:
    """Seconds of each part, as one driver took them."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, f"{folder}/log.txt"], env=environment, capture_output=True, text=True, check=True
    )
    return [float(word) for word in done.stdout.splitlines()[-1].split()[1:]]


def main() -> None:
    """Print the medians of both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        own = os.environ | {"PYTHONPATH": str(ROOT), "STILLHOUSE_CACHE": f"{folder}/own"}
        kept = own | {"STILLHOUSE_CACHE": f"{folder}/kept"}
        command = [sys.executable, "-m", "search.cli"]
        subprocess.run([*command, "up"], env=kept, check=True)
        try:
            rounds = [(measured(own, folder), measured(kept, folder)) for _ in range(options.rounds)]
        finally:
            subprocess.run([*command, "down"], env=kept, check=True)
    print(f"\n{options.rounds} rounds; {hardware()}; torch {versions()['torch']}, ray {versions()['ray']}\n")
    print("| part | its own Ray, s | that of `up`, s | kept / own |\n| --- | --- | --- | --- |")
    for number, part in enumerate(PARTS):
        a, b = (statistics.median(each[way][number] for each in rounds) for way in (0, 1))
        print(f"| {part} | {a:.2f} | {b:.2f} | {b / a:.2f} |")


if __name__ == "__main__":
    main()
