"""Files of text in fragments of about the same size, which can be read where the files are not.

A fragment is some lines of a file of text, some groups of rows of a Parquet file, a file that cannot be divided
(compressed text, CSV), or several small ones. Where it begins depends on the files alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.text.file_texts import file_texts
from trainables.text.files import File
from trainables.text.tables import ZSTD_RATIO
from trainables.text.text_files import compression_of, format_of

FRAGMENT_BYTES = 2**24
LARGEST_BYTES = 4 * FRAGMENT_BYTES
"""Of the text of a span that cannot be divided: shards that begin in it are read from its beginning."""
SEEK_BYTES = 2**16


@dataclass(frozen=True)
class Span:
    """A part of a file that can be read by itself."""

    file: File
    part: tuple[int, ...]
    """What `file_texts` reads of it; nothing: all."""
    text_bytes: int
    """Of text, about."""


Fragment = tuple[Span, ...]


def fragments_of(files: Sequence[File], column: str) -> list[Fragment]:
    """The fragments of some files, in the order of their texts; none where a span is too large to be one of many."""
    found: list[Fragment] = []
    held: list[Span] = []
    for span in (span for file in files for span in spans_of(file, column)):
        if span.text_bytes > LARGEST_BYTES:
            return []
        if held and sum(each.text_bytes for each in held) + span.text_bytes > FRAGMENT_BYTES:
            found.append(tuple(held))
            held = []
        held.append(span)
    return [*found, tuple(held)] if held else found


def spans_of(file: File, column: str) -> Iterator[Span]:
    """The parts of a file in their order, as small as they can be but no smaller than FRAGMENT_BYTES."""
    kind, compression = format_of(file.name)[1], compression_of(file.name)
    if kind in (".txt", ".jsonl") and compression is None:
        yield from spans_of_lines(file)
    elif kind == ".parquet" and (found := spans_of_groups(file, column)):
        yield from found
    else:
        yield Span(file, (), file.size_bytes * (1 if compression is None else ZSTD_RATIO))


def spans_of_lines(file: File) -> Iterator[Span]:
    """Some lines each."""
    begin, size = 0, file.size_bytes
    with file.open(buffered=False) as stream:
        while begin < size:
            end = begin + FRAGMENT_BYTES
            stream.seek(end - 1)  # a line may begin at the very place
            while part := stream.read(SEEK_BYTES):
                if (found := part.find(b"\n")) >= 0:
                    end = stream.tell() - len(part) + found + 1
                    break
            else:
                end = size
            yield Span(file, (begin, end), end - begin)
            begin = end


def spans_of_groups(file: File, column: str) -> list[Span]:
    """Some groups of rows of a Parquet file each; none where it has not this column, or cannot be read."""
    try:
        with file.open(buffered=False) as raw:
            about = pq.read_metadata(raw)
    except (pa.ArrowException, OSError):  # told by whoever reads the texts
        return []
    found: list[Span] = []
    first = text_bytes = 0
    for number in range(about.num_row_groups):
        group = about.row_group(number)
        chunks = [group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == column]
        if len(chunks) != 1:
            return []
        text_bytes += chunks[0].total_uncompressed_size
        if text_bytes >= FRAGMENT_BYTES or number == about.num_row_groups - 1:
            found.append(Span(file, (first, number + 1), text_bytes))
            first, text_bytes = number + 1, 0
    return found


def texts_of(fragments: Sequence[Fragment], column: str) -> Iterator[str]:
    """The texts of some fragments, in their order."""
    for span in (span for fragment in fragments for span in fragment):
        yield from file_texts(span.file, column, *span.part)
