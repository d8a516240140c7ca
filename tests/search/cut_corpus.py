"""A driver, `cut_corpus.py ADDRESS`, that has the nodes of a cluster cut small corpora, and then cuts them alone."""

import gzip
import json
import os
import sys
from functools import partial
from pathlib import Path

import fake_trials
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from search.phases import cutting
from search.tune.cluster import join
from spaces.records.filesystems import open_filesystem
from trainables.models.teacher import load_teacher
from trainables.text import fragments, in_parts, stream
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.files import Stored
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


def cut(name, cutters, tokenizer, source="text", **options):
    """The rows of the corpus in a cache of its own, and what is known of them."""
    os.environ["STILLHOUSE_LOCAL_CACHE"] = str(Path.cwd() / name)
    folder = prepare_corpus(CorpusSpec(source, 32, **options), tokenizer, print, cutters=cutters)
    return open_corpus(folder).facts, {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def cut_stored(tokenizer):
    """The same text in an object store, of which the driver itself reads only what is held out."""
    uri = f"{os.environ['STILLHOUSE_CACHE']}-text"
    filesystem, root = open_filesystem(uri)
    pafs.copy_files("text", root, destination_filesystem=filesystem)
    read, opened, parted = [], Stored.open, cutting.in_parts

    def noted(stored):
        read.append(Path(stored.path).name)
        return opened(stored)

    def begun(*given):
        Stored.open = noted  # from here on, in this process
        return parted(*given)

    cutting.in_parts = begun
    in_parts.tokenise_part = partial(fake_trials.tokenise_slowly, "stored")
    by_workers = cut("stored-workers", partial(cutting.cutters_of, print, None), tokenizer, uri)
    assert set(read) == {"valid.txt"}, read
    assert by_workers == cut("stored-alone", alone, tokenizer), "stored"


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
    cut_stored(tokenizer)


if __name__ == "__main__":
    main(sys.argv[1])
