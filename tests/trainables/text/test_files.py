"""Sources in an object store: listed, read, cut and refused as those on a disk are."""

import gzip
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from spaces.errors import SpecError, StillhouseError
from spaces.records.filesystems import copy_folder, open_filesystem
from trainables.text import files, fragments, in_parts, shards, stream
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.corpus_files import corpus_files, names_of
from trainables.text.file_texts import file_texts
from trainables.text.files import files_at, versions_of
from trainables.text.sources import CorpusSpec, read_texts, source_files


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """Nothing is prepared yet."""
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path, texts):
    """A file of each format, some of which is held out, and a folder for two languages."""
    folder = tmp_path / "text"
    for inner in ("valid", "en", "de", ".hidden"):
        (folder / inner).mkdir(parents=True)
    (folder / "a.txt").write_text("\n".join(f"a {text}" for text in texts(60)))
    rows = "\n".join(json.dumps({"text": f"b {text}", "label": "yes"}) for text in texts(60))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    (folder / "c.jsonl.zst").write_bytes(pa.compress(rows.replace("b ", "c ").encode(), "zstd", asbytes=True))
    pq.write_table(pa.table({"text": [f"d {text}" for text in texts(60)]}), folder / "d.parquet", row_group_size=7)
    (folder / "e.csv").write_text("text,query\n" + "\n".join(f"e {text},{text}" for text in texts(60)))
    for inner in ("valid/f.txt", "en/g.txt", "de/h é 100%.txt", ".hidden/i.txt", "test.txt", "notes.pdf"):
        (folder / inner).write_text("\n".join(f"{inner[0]} {text}" for text in texts(50)))
    return folder


@pytest.fixture(params=["bucket", "gs_bucket"])
def put(request, tmp_path):
    """Copies a folder or file into the bucket; its URI."""
    bucket = request.getfixturevalue(request.param)

    def put(path):
        filesystem, root = open_filesystem(f"{bucket}/{tmp_path.name}/{path.name}")
        if path.is_file():
            with filesystem.open_output_stream(root) as stream:
                stream.write(path.read_bytes())
        else:
            copy_folder(pafs.LocalFileSystem(), str(path), filesystem, root)
        return f"{bucket}/{tmp_path.name}/{path.name}"

    return put


@pytest.fixture
def small(monkeypatch):
    """Fragments and shards of some lines, read some bytes at a time."""
    monkeypatch.setattr(fragments, "FRAGMENT_BYTES", 500)
    monkeypatch.setattr(fragments, "LARGEST_BYTES", 10**6)
    monkeypatch.setattr(stream, "SHARD_CHARACTERS", 1500)
    monkeypatch.setattr(files, "READ_BYTES", 400)


def rows_of(folder):
    """Of a prepared corpus, byte for byte."""
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def in_turn(function, calls, what, keep):
    """Makes calls one after the other."""
    return (keep(number, function(*call)) for number, call in enumerate(calls))


def test_the_same_files_and_texts_as_on_a_disk(folder, put):
    uri = put(folder)
    there, here = corpus_files(uri), corpus_files(str(folder))
    assert (
        names_of(there)
        == names_of(here)
        == {
            "train": ("a.txt", "b.jsonl.gz", "c.jsonl.zst", "d.parquet", "de/h é 100%.txt", "e.csv", "en/g.txt"),
            "held_out": ("valid/f.txt",),
            "test": ("test.txt",),
            "unused": ("notes.pdf",),
        }
    )
    for stored, local in zip(there["train"], here["train"], strict=True):
        assert stored.place == f"{uri}/{local.inner}" and stored.size_bytes == local.size_bytes
        assert list(file_texts(stored, "text")) == list(file_texts(local, "text"))
    assert read_texts(CorpusSpec(f"{uri}/"), print) == read_texts(CorpusSpec(str(folder)), print)
    (single,) = corpus_files(f"{uri}/test.txt")["train"]
    assert single.name == "test.txt" and source_files(CorpusSpec(f"{uri}/test.txt"), print).keys() == {"the file"}


@pytest.mark.parametrize("options", [{}, {"max_tokens": 3000}, {"near_duplicates": 0.9}])
def test_the_same_blocks_as_on_a_disk(options, folder, put, teacher, small):
    uri = put(folder)
    local = prepare_corpus(CorpusSpec(str(folder), 10, **options), teacher.tokenizer)
    stored = prepare_corpus(CorpusSpec(uri, 10, **options), teacher.tokenizer)
    assert local != stored and rows_of(local) == rows_of(stored)
    assert open_corpus(local).facts == open_corpus(stored).facts


def test_the_same_blocks_in_parts(folder, put, teacher, small):
    def cutters(source):
        found.extend(source.fragments())
        return in_parts.in_parts(source.fragments(), "text", in_turn)

    uri, found = put(folder), []
    local = prepare_corpus(CorpusSpec(str(folder), 10), teacher.tokenizer)
    assert rows_of(prepare_corpus(CorpusSpec(uri, 10), teacher.tokenizer, cutters=cutters)) == rows_of(local)
    assert len(found) > 10


@pytest.mark.parametrize(
    ("options", "inner"),
    [
        ({"texts": "sentences"}, ""),
        ({"texts": "single", "queries": "test.txt"}, ""),
        ({"supplement": "test.txt"}, "a.txt"),
        ({"texts": "pairs"}, "e.csv"),
        ({"texts": "single", "label_column": "label"}, "b.jsonl.gz"),
        ({"language_temperature": 3.3}, "languages"),
    ],
)
def test_whatever_is_read_of_files_is_read_there(options, inner, folder, put, teacher):
    (folder / "languages").mkdir()
    for name in ("en", "de"):
        (folder / name).rename(folder / "languages" / name)
    uri = put(folder)

    def prepared(root):
        own = {key: f"{root}/{value}" if key in ("queries", "supplement") else value for key, value in options.items()}
        return prepare_corpus(CorpusSpec(f"{root}/{inner}", 10, **own), teacher.tokenizer)

    local, stored = prepared(folder), prepared(uri)
    assert rows_of(local) == rows_of(stored) and len(rows_of(local)) >= 2
    if "supplement" in options:
        assert rows_of(local / "supplement") == rows_of(stored / "supplement")


def test_what_an_object_says_is_its_identity(folder, put):
    uri = put(folder)
    spec = CorpusSpec(uri)
    before = source_files(spec, print)
    assert before.keys() == source_files(CorpusSpec(str(folder)), print).keys() and len(set(before.values())) == 8
    assert source_files(replace(spec, source=put(folder)), print) == before  # written again with the same content
    text = (folder / "a.txt").read_text()
    (folder / "a.txt").write_text(text[:-1] + "z")  # of the same size
    put(folder)
    changed = source_files(spec, print)
    assert [name for name in before if changed[name] != before[name]] == ["a.txt (train)"]


def test_a_store_of_another_scheme(texts):
    """Through fsspec, which tells neither ETag nor time of change here: then the content is read for its digest."""
    filesystem, root = open_filesystem("memory://corpora/text")
    filesystem.create_dir(root)
    for name, number in (("a.txt", 30), ("valid.txt", 5)):
        with filesystem.open_output_stream(f"{root}/{name}") as stream:
            stream.write("\n".join(texts(number)).encode())
    train, held_out = read_texts(CorpusSpec("memory://corpora/text"), print)
    assert (train, held_out) == (texts(30), texts(5))
    before = versions_of(files_at("memory://corpora/text"))
    with filesystem.open_output_stream(f"{root}/a.txt") as stream:
        stream.write(("\n".join(texts(30))[:-1] + "z").encode())
    after = versions_of(files_at("memory://corpora/text"))
    assert after[0] != before[0] and after[1] == before[1]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("s3://studies/nosuch", "no such bucket, folder or object"),
        ("s3://nosuchbucket/text", "no such bucket, folder or object"),
        ("gs://anonymous@nosuchbucket/text", "no such bucket, folder or object"),
        (
            "gs://anonymous@denied/text",
            "the store does not give it: .*PERMISSION_DENIED.*GOOGLE_APPLICATION_CREDENTIALS",
        ),
        ("s4://studies/text", "no filesystem for 's4://studies/text': .* Known: gs, s3 and"),
    ],
)
def test_what_is_not_there_is_told(bucket, gs_bucket, source, problem):
    with pytest.raises(SpecError, match=rf"^\[corpus\] source '{source}': {problem}"):
        corpus_files(source)


def test_no_file_of_text_is_told(put, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.png").write_text("")
    with pytest.raises(SpecError, match="expected files ending in"):
        corpus_files(put(tmp_path / "pictures"))


def test_a_store_that_does_not_answer_is_told_with_what_it_is_reached_by(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    files.store_of.cache_clear()
    with pytest.raises(SpecError, match=r"the store does not give it: .*AWS_ENDPOINT_URL"):
        corpus_files(f"{bucket}/text")
    files.store_of.cache_clear()


def test_lines_are_told_as_on_a_disk(folder, put):
    with (folder / "a.txt").open("ab") as file:
        file.write(b"\ncaf\xe9\n")
    uri = put(folder)
    with pytest.raises(SpecError, match=f"{uri}/a.txt, line 61: not UTF-8"):
        read_texts(CorpusSpec(uri), print)


class Failing:
    """A store of which so many reads fail."""

    def __init__(self, filesystem, times):
        self.filesystem, self.times = filesystem, times

    def __getattr__(self, name):
        return getattr(self.filesystem, name)

    def open_input_file(self, path):
        return Failed(self, self.filesystem.open_input_file(path))


class Failed:
    """An object of it."""

    def __init__(self, store, handle):
        self.store, self.handle = store, handle

    def read_at(self, number, place):
        self.store.times -= 1
        if self.store.times >= 0:
            raise OSError("curlCode: 56, Failure when receiving data")
        return self.handle.read_at(number, place)


def test_what_a_store_does_not_give_is_asked_for_again_and_costs_no_shards(
    folder, put, teacher, texts, small, monkeypatch
):
    (folder / "a.txt").write_text("\n".join(texts(200)))
    uri = put(folder / "a.txt")
    spec = CorpusSpec(uri, 10)
    monkeypatch.setattr(files, "PAUSES_S", (0.0, 0.0))
    filesystem, root = open_filesystem(uri)
    store = Failing(filesystem, 2)
    monkeypatch.setattr(files, "store_of", lambda source: (store, root))
    assert list(file_texts(*files_at(uri), "text")) == texts(200) and store.times < 0
    saved = []

    def then_lost(path, ids, save=shards.save_shard):
        save(path, ids)
        saved.append(path)
        store.times = 10**6 if len(saved) == 2 else 0

    monkeypatch.setattr(shards, "save_shard", then_lost)
    with pytest.raises(StillhouseError, match="cannot be read: curlCode: 56") as caught:
        prepare_corpus(spec, teacher.tokenizer)
    assert not isinstance(caught.value, SpecError)
    monkeypatch.setattr(files, "PAUSES_S", (1000.0,))  # is not waited for where the object is gone
    with pytest.raises(StillhouseError, match=r"a\.txt\.gone .* cannot be read: .*(does not exist|NOT_FOUND)"):
        files.Stored(uri, f"{root}.gone", None).open()(0, 1)
    store.times = 0
    stored = prepare_corpus(spec, teacher.tokenizer)
    assert len(saved) > 4 and len(set(saved)) == len(saved)  # none was written twice
    assert rows_of(stored) == rows_of(prepare_corpus(CorpusSpec(str(folder / "a.txt"), 10), teacher.tokenizer))


def test_an_object_that_became_shorter_is_told(folder, put):
    (file,) = files_at(put(folder / "a.txt"))
    (folder / "a.txt").write_text("short\n")
    put(folder / "a.txt")
    with pytest.raises(StillhouseError, match=r"a\.txt has changed while it was read"):
        list(file_texts(file, "text"))
