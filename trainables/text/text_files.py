"""Files of text: UTF-8, with or without a byte order mark, and maybe compressed (gzip, zstd)."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePath
from typing import BinaryIO, cast

import pyarrow as pa

from spaces.errors import SpecError
from trainables.text.files import File

COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
"""How text may be compressed, by the second ending of a file."""


def format_of(file: str) -> tuple[str, str]:
    """(name without endings, ending in small letters): train.csv.gz is ("train", ".csv"); only text is compressed."""
    name = file.rpartition(".")[0] if compression_of(file) else file
    stem, dot, ending = name.rpartition(".")
    kind = f".{ending.lower()}" if dot and stem else ""
    return (file, "") if name != file and kind == ".parquet" else (stem or name, kind)


def compression_of(file: str) -> str | None:
    """What a file of this name is compressed by."""
    return COMPRESSED.get(PurePath(file).suffix.lower())


@contextmanager
def opened(file: File) -> Iterator[BinaryIO]:
    """The bytes of a file, uncompressed."""
    try:
        with file.open() as raw, uncompressed(raw, compression_of(file.name)) as stream:
            yield stream
    except (OSError, EOFError, zlib.error) as error:
        raise SpecError([f"{file} cannot be read: {getattr(error, 'strerror', None) or error}"]) from error


def uncompressed(raw: BinaryIO, kind: str | None) -> BinaryIO:
    """What a stream of bytes holds, which may be compressed in several frames."""
    if kind == "zstd":
        return cast(BinaryIO, io.BufferedReader(pa.CompressedInputStream(raw, kind)))
    return cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if kind == "gzip" else raw


def text_of(file: File) -> str:
    """The text of a file, without a byte order mark."""
    with opened(file) as stream:
        raw = stream.read()
    return decoded(raw, file, 1)


def lines_of(file: File, begin: int = 0, end: int | None = None) -> Iterator[tuple[int, str]]:
    """(number, line) of all lines; only a line feed ends one, with or without a carriage return before it.

    Of a file that is not compressed also those between two bytes at which lines begin; their numbers are not the file's
    then, but that the first line of a file is number 1.
    """
    with opened(file if end is None else replace(file, size_bytes=end)) as stream:  # no more of it is asked for
        if begin:
            stream.seek(begin)
        for number, raw in enumerate(stream, start=2 if begin else 1):
            yield number, decoded(raw, file, number).removesuffix("\n").removesuffix("\r")
            begin += len(raw)
            if end is not None and begin >= end:
                return


def decoded(raw: bytes, file: File, number: int) -> str:
    """Bytes that begin with a line of this number, as text."""
    problem = "not UTF-8 text; save the file in that encoding"
    if number == 1 and b"\x00" in raw.partition(b"\n")[0]:  # UTF-16, or no text at all
        raise SpecError([f"{file}, line 1: {problem}"])
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line = number + error.object[: error.start].count(b"\n")
        raise SpecError([f"{file}, line {line}: {problem}"]) from error
