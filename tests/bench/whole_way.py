"""The whole way of a user on a real teacher, every screen printed as a terminal shows it: for eyes, not for numbers.

    python tests/bench/whole_way.py studies/whole_way                 # all-MiniLM-L6-v2, about 30 minutes on two cores
    python tests/bench/whole_way.py studies/whole_way --spec my.toml --trim --trials 4 --train-tokens 40_000

Look for: numbers that do not mean what they say, columns that vanish, silence. Pages, the student and the promoted
study are left in the folder. A second call on the same folder goes on with the study that is there.
"""

import argparse
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

from analysis import load
from spaces.students.transfer import UNTRAINED

ROOT = Path(__file__).parents[2]
WIDTHS = (80, 120, 250)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--spec", default=str(ROOT / "search/specs/minilm.toml"))
    parser.add_argument("--trim", action="store_true", help="trim the teacher's vocabulary first")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--train-tokens", type=int, default=40_000)
    args = parser.parse_args()
    folder = Path(args.folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    changes = ["--set", f"budget.trials={args.trials}", "--set", f"budget.train_tokens={args.train_tokens}"]
    if args.trim:
        if not (folder / "teacher").exists():
            seen(["trim", str(folder / "teacher"), "--spec", args.spec])
        changes += ["--set", f"teacher.path={folder / 'teacher'}"]
    seen(["check", args.spec, *changes])
    search(args.spec, str(folder / "study"), changes)
    show(str(folder / "study"), folder)
    seen(["confirm", str(folder / "study"), "--top", "2", "--seeds", "2"])
    show(str(folder / "study"), folder)
    promote(str(folder / "study"), folder, args.train_tokens)
    seen(["compare", str(folder / "study"), str(folder / "promoted"), "--out", str(folder / "compare.html")])
    seen(["ls", str(folder)])


def search(spec: str, study: str, changes: Sequence[str]) -> None:
    """Start in the background as a shell script does it, look from outside, stop, go on, and watch to the end."""
    watching = subprocess.Popen(command(["watch", study, "--text"]), stdout=subprocess.PIPE, text=True)  # before it is
    running = subprocess.Popen(
        command(["run", spec, study, *changes]),
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # what `&` in a script does
    )
    time.sleep(30)  # into the preparation
    seen(["status", study])
    ended = Path(study, "trials")
    while running.poll() is None and not any(ended.glob("*.parquet")):
        time.sleep(1)
    seen(["status", study])
    seen(["stop", study])
    print(f"[run: exit {running.wait()}]")
    print(f"\n$ stillhouse watch {study} --text    [pipe, from before the study until it was stopped]")
    print(watching.communicate()[0])
    seen(["status", study])
    resumed = subprocess.Popen(command(["resume", study]), stdout=subprocess.DEVNULL)
    time.sleep(30)
    seen(["watch", study, "--text"], terminal=False)
    resumed.wait()
    seen(["status", study])
    seen(["stop", study])


def show(study: str, folder: Path) -> None:
    """Every way to look at the study, then its student's card."""
    for width in WIDTHS:
        seen(["front", study], width)
        seen(["watch", study, "--text"], width)
    seen(["best", study, "--max-parameters", "60%"])
    seen(["best", study, "--max-parameters", "1"])
    seen(["report", study])
    student = folder / f"student-{time.strftime('%H%M%S')}"
    seen(["export", study, str(student), "--knee"])
    print((student / "README.md").read_text())


def promote(study: str, folder: Path, train_tokens: int) -> None:
    """A start and too few tokens, which are refused; then the best that was trained, with twice the search's tokens."""
    rows = load(study).finished
    trained = rows[rows["method"] != UNTRAINED].sort_values("quality", ascending=False)["trial"]
    starts = rows[rows["method"] == UNTRAINED]["trial"]
    for trial, tokens in ((starts, 2 * train_tokens), (trained, train_tokens // 2), (trained, 2 * train_tokens)):
        if len(trial):
            words = ["promote", study, str(folder / "promoted"), "--trial", str(trial.iloc[0])]
            seen([*words, "--train-tokens", str(tokens), "--seeds", "2"])
    seen(["front", str(folder / "promoted")])
    seen(["report", str(folder / "promoted")])
    for card in sorted((folder / "promoted").glob("**/README.md")):
        print(f"\n{card.relative_to(folder)}\n{card.read_text()}")


def command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "search.cli", *words]


def seen(words: Sequence[str], width: int = 100, *, terminal: bool = True) -> None:
    """Run a command and print what a terminal of this width shows; without one, what a pipe gets."""
    print(f"\n$ stillhouse {' '.join(words)}    [{f'{width} columns' if terminal else 'pipe'}]", flush=True)
    if not terminal:
        print(f"[exit {subprocess.run(command(words), cwd=ROOT, check=False).returncode}]", flush=True)
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
    print(f"[exit {process.returncode}]", flush=True)


if __name__ == "__main__":
    main()
