"""A corpus of short texts beside sentences of Wikipedia: training texts of tasks, without their labels.

    python tests/bench/short_texts.py DATA OUT [--wikipedia 18000] [--without stsb]

DATA holds tasks/ and corpora/wiki_en (Parquet; columns text, text2). OUT gets train.parquet and valid.parquet, one
sentence or short text a row. A text that stands in dev or test of any of the tasks is left out, and MRPC is not read,
since its training texts hold pairs of the STS-B test.
"""

import argparse
import random
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

TASKS = ("stsb", "trec", "sst2", "subj", "mr", "cr", "cola", "rte")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")


def texts_of(path: Path) -> list[str]:
    """Both columns of texts of one file."""
    table = pq.read_table(path)
    return [text for name in ("text", "text2") if name in table.column_names for text in table[name].to_pylist()]


def bare(text: str) -> str:
    """What two spellings of the same text have in common."""
    return re.sub(r"\W+", " ", text.lower()).strip()


def main() -> None:
    """Write the corpus and say what it holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--wikipedia", type=int, default=18_000, help="sentences of Wikipedia")
    parser.add_argument("--without", action="append", default=[], choices=TASKS)
    args = parser.parse_args()
    held_back = {
        bare(text)
        for name in TASKS
        for split in ("dev", "test")
        for path in (args.data / "tasks" / name).glob(f"{split}.parquet")
        for text in texts_of(path)
    }
    kept: dict[str, str] = {}
    for name in TASKS:
        if name in args.without:
            continue
        found = {bare(text): text for text in texts_of(args.data / "tasks" / name / "train.parquet")}
        fresh = {key: text for key, text in found.items() if key not in held_back and key not in kept}
        print(f"{name:>6}: {len(found):,} texts, {len(fresh):,} kept")
        kept |= fresh
    paragraphs = pq.read_table(args.data / "corpora" / "wiki_en" / "train.parquet")["text"].to_pylist()
    sentences = {bare(each): each for text in paragraphs for each in SENTENCE_END.split(text) if len(each) < 160}
    fresh = {key: text for key, text in sentences.items() if key not in held_back and key not in kept}
    drawn = random.Random(0).sample(sorted(fresh.values()), min(args.wikipedia, len(fresh)))
    print(f"  wiki: {len(sentences):,} sentences of fewer than 160 characters, {len(drawn):,} kept")
    texts = [*kept.values(), *drawn]
    random.Random(0).shuffle(texts)
    args.out.mkdir(parents=True, exist_ok=True)
    for split, rows in (("valid", texts[:500]), ("train", texts[500:])):
        pq.write_table(pa.table({"text": rows}), args.out / f"{split}.parquet")
    print(f"{len(texts):,} texts, {sum(len(text.split()) for text in texts):,} words, in {args.out}")


if __name__ == "__main__":
    main()
