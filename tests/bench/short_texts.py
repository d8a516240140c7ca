"""A corpus of short texts beside sentences of Wikipedia: training texts of tasks, without their labels.

    python tests/bench/short_texts.py DATA OUT [--wikipedia 18000] [--without stsb]
    python tests/bench/short_texts.py DATA OUT --languages en de fr es ru zh ja

DATA holds tasks/ and corpora/wiki_en (Parquet; columns text, text2). OUT gets train.parquet and valid.parquet, one
sentence or short text a row. A text that stands in dev or test of any of the tasks is left out, and MRPC is not read,
since its training texts hold pairs of the STS-B test. With languages, OUT gets a folder for each: corpora/multi and the
training texts of multilingual/xnli, without those of dev and test of multilingual/stsb.
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


def write_corpus(folder: Path, texts: list[str], held_out: int) -> None:
    """The texts in the order of a seed, the first `held_out` of them as valid.parquet."""
    random.Random(0).shuffle(texts)
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in (("valid", texts[:held_out]), ("train", texts[held_out:])):
        pq.write_table(pa.table({"text": rows}), folder / f"{split}.parquet")
    print(f"{len(texts):,} texts, {sum(len(text) for text in texts):,} characters, in {folder}")


def write_languages(data: Path, out: Path, languages: list[str]) -> None:
    """A folder for each language: paragraphs of corpora/multi and training texts of XNLI, where it has the language."""
    for language in languages:
        scored = data / "multilingual" / "stsb" / language
        held_back = {bare(text) for split in ("dev", "test") for text in texts_of(scored / f"{split}.parquet")}
        read = [data / "corpora" / "multi" / language / "train.parquet"]
        read += [path for path in [data / "multilingual" / "xnli" / language / "train.parquet"] if path.exists()]
        found = {bare(text): text for path in read for text in texts_of(path)}
        write_corpus(out / language, [text for key, text in found.items() if key not in held_back], held_out=100)


def main() -> None:
    """Write the corpus and say what it holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--wikipedia", type=int, default=18_000, help="sentences of Wikipedia")
    parser.add_argument("--without", action="append", default=[], choices=TASKS)
    parser.add_argument("--languages", nargs="+", default=[], help="a folder for each, in place of the tasks")
    args = parser.parse_args()
    if args.languages:
        return write_languages(args.data, args.out, args.languages)
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
    write_corpus(args.out, [*kept.values(), *drawn], held_out=500)


if __name__ == "__main__":
    main()
