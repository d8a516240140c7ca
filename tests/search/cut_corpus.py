"""A driver, `cut_corpus.py ADDRESS`, that has the nodes of a cluster cut small corpora, and then cuts them alone."""

import gzip
import json
import os
import sys
from functools import partial
from pathlib import Path

import fake_trials
import pyarrow as pa
import pyarrow.parquet as pq

from search.phases import cutting
from search.tune.cluster import join
from trainables.models.teacher import load_teacher
from trainables.text import fragments, in_parts, stream
from trainables.text.corpus import prepare_corpus
from trainables.text.shards import alone
from trainables.text.sources import CorpusSpec

LINES = 400


def write_texts(folder):
    """Files of some formats, on the driver's disk."""
    texts = [
        f"line {number} of a corpus, in which word {number % 7} follows word {number % 5}" for number in range(LINES)
    ]
    folder.mkdir()
    (folder / "a.txt").write_text("\n".join(texts))
    (folder / "b.jsonl.gz").write_bytes(
        gzip.compress("\n".join(json.dumps({"text": f"b {x}"}) for x in texts).encode())
    )
    pq.write_table(pa.table({"text": [f"c {text}" for text in texts]}), folder / "c.parquet", row_group_size=50)
    return texts


def cut(name, cutters, tokenizer, **options):
    """The files of the corpus in a cache of its own."""
    os.environ["STILLHOUSE_LOCAL_CACHE"] = str(Path.cwd() / name)
    folder = prepare_corpus(CorpusSpec("text", 32, **options), tokenizer, print, cutters=cutters)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def main(address):
    """Join, cut all of the text and a sample of it, and compare."""
    join(address)
    tokenizer = load_teacher("package:trainables/embedded_teacher").tokenizer
    texts = write_texts(Path("text"))
    fragments.FRAGMENT_BYTES, stream.SHARD_CHARACTERS = 8000, 8000
    cutting.sooner = lambda *measures: True
    for name, options in (("all", {}), ("some", {"max_tokens": 9000})):
        in_parts.tokenise_part = partial(fake_trials.tokenise_slowly, name)
        by_workers = cut(f"{name}-workers", partial(cutting.cutters_of, print, None), tokenizer, **options)
        assert by_workers == cut(f"{name}-alone", alone, tokenizer, **options), name
        Path("text/valid.txt").write_text("\n".join(texts[:50]))  # the second time nothing else is held out


if __name__ == "__main__":
    main(sys.argv[1])
