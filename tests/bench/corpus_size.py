"""How quickly a corpus becomes blocks, and in how much memory, against its tokenizer alone on the same text and cores.

    python tests/bench/corpus_size.py TEXT... [--megabytes 200] [--teacher FOLDER] [--preparation-alone]

TEXT are files of a corpus, whose lines are repeated with another number before each until there are so many megabytes.
Each measurement runs in a process of its own: `encode_batch_fast` on batches of lines that are in memory (what it gives
is thrown away), then the whole preparation: reading, hashing, counting, tokenising, packing and writing.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from trainables.text.file_texts import file_texts  # noqa: E402

EMBEDDED = "package:trainables/embedded_teacher"
HEAD = """
import os, sys, time
from trainables.models.teacher import load_teacher
tokenizer = load_teacher(sys.argv[2]).tokenizer
def peak():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
"""
LIMIT = (
    HEAD
    + """
from trainables.text.shards import plain
os.environ["TOKENIZERS_PARALLELISM"] = "true"
backend, tokens, spent = plain(tokenizer), 0, 0.0
lines = []
def run():
    global tokens, spent
    started = time.perf_counter()
    found = backend.encode_batch_fast(lines, add_special_tokens=False)
    spent += time.perf_counter() - started
    tokens += sum(map(len, found))
    lines.clear()
size = 0
for line in open(sys.argv[1], encoding="utf-8"):
    lines.append(line.strip())
    size += len(line)
    if size > 1_000_000:
        run()
        size = 0
run()
print(tokens, spent, peak())
"""
)
WHOLE = (
    HEAD
    + """
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec
started = time.perf_counter()
corpus = open_corpus(prepare_corpus(CorpusSpec(sys.argv[1]), tokenizer, lambda line: print(line, file=sys.stderr)))
print(corpus.train_tokens, time.perf_counter() - started, peak())
"""
)


def measured(code: str, *arguments: str) -> tuple[float, float, float]:
    """(tokens, seconds, peak MiB) of a program."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "STILLHOUSE_CACHE": cache}
        run = subprocess.run(
            [sys.executable, "-c", code, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
    tokens, seconds, peak = map(float, run.stdout.split())
    return tokens, seconds, peak


def main() -> None:
    """Print both rates, their ratio and the peaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--teacher", default=EMBEDDED)
    parser.add_argument("--preparation-alone", action="store_true", help="without what it is held against")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "corpus.txt"
        texts = (text for path in options.texts for text in file_texts(path, "text"))
        lines = [line for text in texts for line in text.splitlines() if line.strip()]
        number = 0
        with file.open("w", encoding="utf-8") as written:
            while written.tell() < options.megabytes * 10**6:
                written.writelines(f"{number} {line}\n" for line in lines)
                number += 1
        codes = {"the whole preparation": WHOLE} | ({} if options.preparation_alone else {"the tokenizer alone": LIMIT})
        found = {name: measured(code, str(file), options.teacher) for name, code in codes.items()}
        size = file.stat().st_size
    print(f"{size / 1e6:,.0f} MB of text")
    for name, (tokens, seconds, peak) in found.items():
        print(f"{name}: {tokens:,.0f} tokens in {seconds:.0f} s, {tokens / seconds:,.0f} a second; peak {peak:.0f} MiB")
    if not options.preparation_alone:
        seconds = [each[1] for each in found.values()]
        print(f"{seconds[1] / seconds[0]:.0%} of what the tokenizer reaches")


if __name__ == "__main__":
    main()
