"""A corpus cut in calls that need nothing of one another: the bytes that one process writes from the whole stream."""

import csv
import gzip
import json
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spaces.errors import SpecError
from trainables.text import fragments, held_out, in_parts, stream
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.file_texts import file_texts
from trainables.text.files import file_here
from trainables.text.fragments import fragments_of, texts_of
from trainables.text.sources import CorpusSpec, open_texts


def write_csv(path, texts):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])


def write_groups(path, texts):
    pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), path, row_group_size=7, compression="zstd")


WRITERS = {
    "lines.txt": lambda path, texts: path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(texts).encode()),
    "rows.jsonl": lambda path, texts: path.write_text("".join(json.dumps({"text": text}) + "\n\n" for text in texts)),
    "groups.parquet": write_groups,
    "words.txt.gz": lambda path, texts: path.write_bytes(gzip.compress("\n".join(texts).encode())),
    "table.csv": write_csv,
}


@pytest.fixture
def small(monkeypatch):
    """Fragments and shards of some lines."""
    monkeypatch.setattr(fragments, "FRAGMENT_BYTES", 500)
    monkeypatch.setattr(fragments, "LARGEST_BYTES", 10**6)
    monkeypatch.setattr(fragments, "SEEK_BYTES", 16)
    monkeypatch.setattr(stream, "SHARD_CHARACTERS", 1500)


@pytest.fixture
def source(tmp_path, texts, small):
    """A file of each format with other texts, one of which is long."""
    (tmp_path / "text").mkdir()
    for number, (name, write) in enumerate(WRITERS.items()):
        write(tmp_path / "text" / name, [f"{number} {text}" for text in [*texts(60), " ".join(texts(70))]])
    return tmp_path / "text"


def in_turn(function, calls, what, keep):
    """Makes calls as a cluster does: of copies."""
    for number, call in enumerate(calls):
        there, arguments = pickle.loads(pickle.dumps((function, call)))
        yield keep(number, there(*arguments))


@pytest.fixture
def prepared(source, teacher, monkeypatch):
    """A corpus in a cache of its own, alone or in parts."""

    def prepare(name, *, parts=None, run=in_turn, **options):
        monkeypatch.setenv("STILLHOUSE_CACHE", str(source.parent / name))
        spec, more = CorpusSpec(str(source), 10, **options), {}
        if parts:
            more["cutters"] = lambda texts: in_parts.in_parts(texts.fragments(), "text", run)
        return prepare_corpus(spec, teacher.tokenizer, **more)

    return prepare


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", WRITERS)
def test_fragments_hold_the_texts_of_a_file_in_their_order(name, source):
    file, taken = file_here(source / name), []
    whole = list(file_texts(file, "text"))

    def read(place, number):
        if ".parquet" not in name or place + number < file.size_bytes:  # but for the end, of which 64 KiB are read
            taken.append(number)
        return (source / name).read_bytes()[place : place + number]

    found = fragments_of([replace(file, origin=SimpleNamespace(open=lambda: read))], "text")
    assert len(found) == 1 if name.endswith(("gz", "csv")) else len(found) > 3
    taken.clear()
    assert [text for each in found for text in texts_of([each], "text")] == whole
    assert 0 < sum(taken) <= file.size_bytes
    assert list(texts_of(found[1:], "text")) == whole[len(list(texts_of(found[:1], "text"))) :]


def test_small_files_are_one_fragment_and_what_cannot_be_divided_is_none(source, tmp_path, monkeypatch):
    for number in range(10, 40):
        (tmp_path / f"{number}.txt").write_text(f"file {number}\n" * 10)
    many = [file_here(path) for path in sorted(tmp_path.glob("*.txt"))]
    assert [len(each) for each in fragments_of(many, "text")] == [6] * 5
    monkeypatch.setattr(fragments, "LARGEST_BYTES", 2000)
    assert not fragments_of([file_here(source / "lines.txt"), file_here(source / "table.csv")], "text")
    spec = CorpusSpec(str(source), near_duplicates=0.8)
    assert not open_texts(spec, print).fragments() and not open_texts(CorpusSpec("docs"), print).fragments()


@pytest.mark.parametrize(
    "options", [{}, {"max_tokens": 3000}, {"held_out": True}, {"held_out": True, "max_tokens": 3000}]
)
def test_the_same_bytes_in_parts_as_alone(options, prepared, source, texts):
    if options.pop("held_out", False):
        (source / "valid.txt").write_text("\n".join(texts(50)))
    alone, parted = prepared("alone", **options), prepared("parted", parts=True, **options)
    assert parted.name == alone.name and files_of(parted) == files_of(alone)
    assert open_corpus(alone).facts.sampled == ("max_tokens" in options)
    assert not list((source.parent / "parted/shards").iterdir())


def test_either_goes_on_where_the_other_was_stopped(prepared, source, monkeypatch):
    whole = files_of(prepared("whole"))

    def stopped(function, calls, what, keep):
        for number, result in enumerate(in_turn(function, calls, what, keep)):
            if what == "shards" and number == 3:
                raise KeyboardInterrupt
            yield result

    def shards():
        (folder,) = (source.parent / "stopped/shards").iterdir()
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    with pytest.raises(KeyboardInterrupt):
        prepared("stopped", parts=True, run=stopped)
    first, real, saved = shards(), np.save, []

    def killed(file, ids):
        saved.append(ids)
        if len(saved) == 3:
            raise KeyboardInterrupt
        real(file, ids)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(np, "save", killed)
        prepared("stopped")
    second, asked = shards(), []

    def noted(function, calls, what, keep):
        asked.extend(call[-1] for call in calls if what == "shards")
        return in_turn(function, calls, what, keep)

    assert files_of(prepared("stopped", parts=True, run=noted)) == whole
    assert len(first) == 4 and len(second) == 6 and first.items() <= second.items() and asked[0] == 6


def test_what_cannot_be_read_is_told_with_its_line(prepared, source):
    with (source / "rows.jsonl").open("a") as file:
        file.write('{"text": 3}\n')
    with pytest.raises(SpecError) as alone:
        prepared("alone")
    with pytest.raises(SpecError) as parted:
        prepared("parted", parts=True)
    assert str(parted.value) == str(alone.value) and "line 123: 'text' holds 3, not a text" in str(alone.value)


@pytest.mark.parametrize("listed", [10, 100, 10**5])
def test_counted_apart_is_counted_together(listed, texts, monkeypatch):
    monkeypatch.setattr(held_out, "LISTED", listed)
    monkeypatch.setattr(held_out, "LONG", 50)
    monkeypatch.setattr(stream, "PROBED", 20)
    every = [*texts(150), *(text * 3 for text in texts(150))]
    whole = stream.counted(every)
    parted = stream.joined(map(stream.counted, (every[:40], every[40:41], [], every[41:220], every[220:])))
    assert sorted(parted.probed) == sorted(whole.probed)
    for at_least in (10, 1000):
        one, other = (each.census.held_out(at_least) for each in (whole, parted))
        assert (one.last, one.limit, one.sizes.tolist()) == (other.last, other.limit, other.sizes.tolist())
    assert replace(whole, census=None, probed=[]) == replace(parted, census=None, probed=[])
    assert (whole.census.buckets, whole.census.lengths) == (parted.census.buckets, parted.census.lengths)
    assert (whole.census.rest == parted.census.rest).all() and whole.census.texts == parted.census.texts
