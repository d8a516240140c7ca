"""How quickly a corpus becomes blocks, and in how much memory, against its tokenizer alone on the same text and cores.

    python tests/bench/corpus_size.py TEXT... [--megabytes 200] [--teacher FOLDER] [--preparation-alone] [--nodes 2]

TEXT are files of a corpus, whose lines are repeated with another number before each until there are so many megabytes.
Each measurement runs in a process of its own: `encode_batch_fast` on batches of lines that are in memory (what it gives
is thrown away), then the whole preparation: reading, hashing, counting, tokenising, packing and writing. With --nodes
instead: the whole preparation by one process with one thread, with as many threads as there are to be nodes, and by a
cluster of so many nodes of one CPU that run on this machine; its workers start within the time that is measured.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/search")]

from nodes_apart import NodesApart  # noqa: E402
from processes import marked  # noqa: E402

from trainables.text.file_texts import file_texts  # noqa: E402
from trainables.text.files import file_here  # noqa: E402

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
BY_WORKERS = (
    HEAD
    + """
from functools import partial
from search.phases import cutting
from search.tune.cluster import join
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec
say = lambda line: print(line, file=sys.stderr)
cutting.sooner = lambda *measures: True
join(sys.argv[3])
started = time.perf_counter()
cutters = partial(cutting.cutters_of, say, None)
corpus = open_corpus(prepare_corpus(CorpusSpec(sys.argv[1]), tokenizer, say, cutters=cutters))
print(corpus.train_tokens, time.perf_counter() - started, peak())
"""
)
LOOK_EVERY_S = 0.5


def measured(code: str, *arguments: str, **variables: str) -> tuple[float, float, float]:
    """(tokens, seconds, peak MiB) of a program."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, **variables, "PYTHONPATH": str(ROOT), "STILLHOUSE_CACHE": cache}
        run = subprocess.run(
            [sys.executable, "-c", code, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
    tokens, seconds, peak = map(float, run.stdout.split())
    return tokens, seconds, peak


def peak_of_workers(mark: str) -> float:
    """MiB of the largest worker of Ray that runs at this moment."""
    peaks = [0.0]
    for pid, command in marked(mark).items():
        if command.startswith("ray::"):
            status = Path(f"/proc/{pid}/status")
            lines = status.read_text().splitlines() if status.exists() else []
            peaks += [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")]
    return max(peaks)


def by_nodes(number: int, *arguments: str) -> tuple[float, float, float]:
    """(tokens, seconds, peak MiB of a worker) of a cluster."""
    with tempfile.TemporaryDirectory() as folder:
        nodes, peaks, ended = NodesApart(Path(folder), folder), [0.0], threading.Event()

        def look() -> None:
            while not ended.wait(LOOK_EVERY_S):
                peaks.append(peak_of_workers(nodes.mark))

        try:
            for _ in range(number):
                nodes.add()
            variables = {name: value for name, value in nodes.driver().items() if name != "PYTHONPATH"}
            watch = threading.Thread(target=look)
            watch.start()
            tokens, seconds, _ = measured(BY_WORKERS, *arguments, nodes.address, **variables)
        finally:
            ended.set()
            nodes.end()
        watch.join()
    return tokens, seconds, max(peaks)


def main() -> None:
    """Print the rates, their ratio and the peaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--teacher", default=EMBEDDED)
    parser.add_argument("--preparation-alone", action="store_true", help="without what it is held against")
    parser.add_argument("--nodes", type=int, help="of a cluster that is held against one process")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "corpus.txt"
        texts = (text for path in options.texts for text in file_texts(file_here(path), "text"))
        lines = [line for text in texts for line in text.splitlines() if line.strip()]
        number = 0
        with file.open("w", encoding="utf-8") as written:
            while written.tell() < options.megabytes * 10**6:
                written.writelines(f"{number} {line}\n" for line in lines)
                number += 1
        found, arguments = {}, (str(file), options.teacher)
        if options.nodes:
            for threads in (1, options.nodes):
                found[f"threads: {threads}"] = measured(WHOLE, *arguments, RAYON_NUM_THREADS=str(threads))
            found[f"nodes: {options.nodes}"] = by_nodes(options.nodes, *arguments)
        else:
            found["the whole preparation"] = measured(WHOLE, *arguments)
            if not options.preparation_alone:
                found["the tokenizer alone"] = measured(LIMIT, *arguments)
        size = file.stat().st_size
    print(f"{size / 1e6:,.0f} MB of text")
    for name, (tokens, seconds, peak) in found.items():
        print(f"{name}: {tokens:,.0f} tokens in {seconds:.0f} s, {tokens / seconds:,.0f} a second; peak {peak:.0f} MiB")
    if "the tokenizer alone" in found:
        seconds = [each[1] for each in found.values()]
        print(f"{seconds[1] / seconds[0]:.0%} of what the tokenizer reaches")


if __name__ == "__main__":
    main()
