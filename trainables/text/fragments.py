"""Files of text in fragments of about the same size, which can be read where the files are not.

A fragment is some lines of a file of text, some groups of rows of a Parquet file, a file that cannot be divided
(compressed text, CSV), or several small ones. Where it begins depends on the files alone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.text.file_texts import file_texts
from trainables.text.tables import ZSTD_RATIO
from trainables.text.text_files import compression_of, format_of

FRAGMENT_BYTES = 2**24
LARGEST_BYTES = 4 * FRAGMENT_BYTES
"""Of the text of a span that cannot be divided: shards that begin in it are read from its beginning."""
READ_BYTES = 2**22
"""Of a file at a time."""
SEEK_BYTES = 2**16
FOOTER_END = 8
"""The bytes of a Parquet file after its metadata: their length and a word."""

Read = Callable[[Path, int, int], bytes]
"""So many bytes of a file from a place on."""


@dataclass(frozen=True)
class Span:
    """A part of a file that can be read by itself."""

    path: Path
    file_bytes: int
    part: tuple[int, ...]
    """What `file_texts` reads of it; nothing: all."""
    ranges: tuple[tuple[int, int], ...]
    """(place, number) of the bytes that this takes."""
    text_bytes: int
    """Of text, about."""


Fragment = tuple[Span, ...]


def fragments_of(paths: Sequence[Path], column: str) -> list[Fragment]:
    """The fragments of some files, in the order of their texts; none where a span is too large to be one of many."""
    found: list[Fragment] = []
    held: list[Span] = []
    for span in (span for path in paths for span in spans_of(path, column)):
        if span.text_bytes > LARGEST_BYTES:
            return []
        if held and sum(each.text_bytes for each in held) + span.text_bytes > FRAGMENT_BYTES:
            found.append(tuple(held))
            held = []
        held.append(span)
    return [*found, tuple(held)] if held else found


def spans_of(path: Path, column: str) -> Iterator[Span]:
    """The parts of a file in their order, as small as they can be but no smaller than FRAGMENT_BYTES."""
    kind, compression = format_of(path)[1], compression_of(path)
    if kind in (".txt", ".jsonl") and compression is None:
        yield from spans_of_lines(path)
    elif kind == ".parquet" and (found := spans_of_groups(path, column)):
        yield from found
    else:
        size = path.stat().st_size
        yield Span(path, size, (), ((0, size),), size * (1 if compression is None else ZSTD_RATIO))


def spans_of_lines(path: Path) -> Iterator[Span]:
    """Some lines each."""
    begin, size = 0, path.stat().st_size
    with path.open("rb") as file:
        while begin < size:
            end = begin + FRAGMENT_BYTES
            file.seek(end - 1)  # a line may begin at the very place
            while part := file.read(SEEK_BYTES):
                if (found := part.find(b"\n")) >= 0:
                    end = file.tell() - len(part) + found + 1
                    break
            else:
                end = size
            yield Span(path, size, (begin, end), ((begin, end - begin),), end - begin)
            begin = end


def spans_of_groups(path: Path, column: str) -> list[Span]:
    """Some groups of rows of a Parquet file each; none where it has not this column, or cannot be read."""
    try:
        about = pq.read_metadata(path)
    except (pa.ArrowException, OSError):  # told by whoever reads the texts
        return []
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(size - FOOTER_END)
        footer = int.from_bytes(file.read(4), "little") + FOOTER_END
    found: list[Span] = []
    first, ranges, text_bytes = 0, list[tuple[int, int]](), 0
    for number in range(about.num_row_groups):
        group = about.row_group(number)
        chunks = [group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == column]
        if len(chunks) != 1:
            return []
        (chunk,) = chunks
        begin = min(place for place in (chunk.dictionary_page_offset, chunk.data_page_offset) if place)
        ranges.append((begin, chunk.total_compressed_size))
        text_bytes += chunk.total_uncompressed_size
        if text_bytes >= FRAGMENT_BYTES or number == about.num_row_groups - 1:
            found.append(Span(path, size, (first, number + 1), (*ranges, (size - footer, footer)), text_bytes))
            first, ranges, text_bytes = number + 1, [], 0
    return found


def texts_of(fragments: Sequence[Fragment], column: str, read: Read) -> Iterator[str]:
    """The texts of some fragments, in their order."""
    for span in (span for fragment in fragments for span in fragment):
        with copied(span, read) as path:
            yield from file_texts(path, column, *span.part)


@contextmanager
def copied(span: Span, read: Read) -> Iterator[Path]:
    """A file of the same name and size, of which only what the span takes is there and takes room."""
    with TemporaryDirectory(prefix="stillhouse-") as folder:
        path = Path(folder, span.path.name)
        with path.open("wb") as file:
            file.truncate(span.file_bytes)
            for begin, length in span.ranges:
                file.seek(begin)
                for place in range(begin, begin + length, READ_BYTES):
                    file.write(read(span.path, place, min(READ_BYTES, begin + length - place)))
        yield path


def read_bytes(path: Path, place: int, number: int) -> bytes:
    """So many bytes of a file of this machine."""
    with path.open("rb") as file:
        file.seek(place)
        return file.read(number)
