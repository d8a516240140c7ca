"""The whole way of a user on a real teacher, every screen printed as a terminal shows it: for eyes, not for numbers.

    python tests/bench/whole_way.py studies/whole_way                 # all-MiniLM-L6-v2, about 15 minutes on two cores
    python tests/bench/whole_way.py studies/whole_way --spec my.toml --trials 4 --train-tokens 40_000

Look for: numbers that do not mean what they say, columns that vanish, silence. Pages are left in the folder.
"""

import argparse
import fcntl
import os
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
WIDTHS = (80, 120, 250)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--spec", default=str(ROOT / "search/specs/minilm.toml"))
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--train-tokens", type=int, default=40_000)
    args = parser.parse_args()
    study, changes = f"{args.folder}/study", ["--set", f"budget.trials={args.trials}"]
    changes += ["--set", f"budget.train_tokens={args.train_tokens}"]
    seen(["check", args.spec, *changes])
    running = subprocess.Popen(command(["run", args.spec, study, *changes]), stdout=subprocess.DEVNULL)
    time.sleep(20)  # into the preparation
    seen(["status", study])
    seen(["watch", study, "--text"], terminal=False)  # lines in a pipe, until the run is over
    running.wait()
    for width in WIDTHS:
        seen(["front", study], width)
        seen(["watch", study, "--text"], width)
    seen(["best", study, "--max-parameters", "60%"])
    seen(["best", study, "--max-parameters", "1"])
    seen(["confirm", study, "--top", "2", "--seeds", "2"])
    seen(["front", study], 120)
    seen(["report", study])
    seen(["export", study, f"{args.folder}/student", "--knee"])
    print(Path(args.folder, "student", "README.md").read_text())
    seen(["promote", study, f"{args.folder}/promoted", "--knee", "--train-tokens", str(args.train_tokens // 2)])
    seen(["promote", study, f"{args.folder}/promoted", "--knee", "--train-tokens", str(2 * args.train_tokens),
          "--seeds", "2"])  # fmt: skip
    seen(["compare", study, f"{args.folder}/promoted", "--out", f"{args.folder}/compare.html"])
    seen(["ls", args.folder])


def command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "search.cli", *words]


def seen(words: Sequence[str], width: int = 100, *, terminal: bool = True) -> None:
    """Run a command and print what a terminal of this width shows; without one, what a pipe gets."""
    print(f"\n$ stillhouse {' '.join(words)}    [{f'{width} columns' if terminal else 'pipe'}]", flush=True)
    if not terminal:
        subprocess.run(command(words), cwd=ROOT, check=False)
        return
    outer, inner = os.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {**os.environ, "COLUMNS": str(width)}
    with subprocess.Popen(command(words), cwd=ROOT, stdout=inner, stderr=inner, env=environment) as process:
        os.close(inner)
        while True:
            try:
                data = os.read(outer, 4096)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            sys.stdout.write(data.decode(errors="replace"))
        sys.stdout.flush()
    os.close(outer)
    print(f"[exit {process.returncode}]")


if __name__ == "__main__":
    main()
