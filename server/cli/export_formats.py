"""The formats of an export: each a writer of rows into a stream, and a reader of what `verify` compares.

A writer takes rows one by one, page by page, and keeps little of them; `close` writes what is left, not the stream's
end.
"""

import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson
import zstandard

from server.base.json_text import json_text
from server.cli.csv_text import as_csv, unguarded
from server.cli.exit_codes import MISTAKE
from server.cli.export_file import Stream
from server.cli.failure import CommandFailed
from server.observe.exports import COLUMNS, Key, cells
from server.observe.receipts import Value

PORTION_BYTES = 2**20
"""Of text that is written at once: a page of large events may have gigabytes."""

PYARROW = "pyarrow>=25,<26"
"""What the extra `parquet` is."""


class RowWriter(Protocol):
    """Writes rows in one format."""

    def write(self, rows: Iterable[Value]) -> None: ...

    def close(self) -> None: ...


class Format(NamedTuple):
    """How rows are written, and their keys read."""

    writer: Callable[[Stream], RowWriter]
    keys: Callable[[Path], Iterator[Key]]


class JsonLines:
    """A JSON object a line."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def write(self, rows: Iterable[Value]) -> None:
        for portion in _portions(json_text(row) + b"\n" for row in rows):
            self._stream.write(portion)

    def close(self) -> None:
        pass  # every line is written


class PackedLines:
    """The same in one zstd frame."""

    def __init__(self, stream: Stream) -> None:
        self._packer = zstandard.ZstdCompressor().compressobj()
        self._stream = stream

    def write(self, rows: Iterable[Value]) -> None:
        for portion in _portions(json_text(row) + b"\n" for row in rows):
            self._stream.write(self._packer.compress(portion))

    def close(self) -> None:
        self._stream.write(self._packer.flush())


class CsvTable:
    """RFC 4180, with a head; what is nested is JSON in a text."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._stream.write(as_csv([COLUMNS]))

    def write(self, rows: Iterable[Value]) -> None:
        for portion in _portions(as_csv([cells(row)]) for row in rows):
            self._stream.write(portion)

    def close(self) -> None:
        pass  # every line is written


def _portions(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield these joined, PORTION_BYTES and one text at most at a time."""
    held: list[bytes] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size >= PORTION_BYTES:
            yield b"".join(held)
            held.clear()
            size = 0
    yield b"".join(held)


# What `verify` reads.


def _keys_of_lines(lines: Iterable[bytes]) -> Iterator[Key]:
    for line in lines:
        row = orjson.loads(line)
        is_forgotten = "forgotten_at" in row
        yield Key(row["number"], row["source_config_id"], row["inbound_event_id"], row["outcome"], is_forgotten)


def _lines_keys(path: Path) -> Iterator[Key]:
    with path.open("rb") as file:
        yield from _keys_of_lines(file)


def _packed_keys(path: Path) -> Iterator[Key]:
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as unpacked:
        yield from _keys_of_lines(io.BufferedReader(unpacked))


def _csv_keys(path: Path) -> Iterator[Key]:
    csv.field_size_limit(2**31 - 1)  # a payload may be longer than the usual 128 KiB
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            source_id, event_id = unguarded(row["source_config_id"]), unguarded(row["inbound_event_id"])
            yield Key(int(row["number"]), source_id, event_id, row["outcome"], bool(row["forgotten_at"]))


def _parquet_keys(path: Path) -> Iterator[Key]:
    found: Iterator[Key] = _parquet().keys(path)
    return found


def _parquet_writer(stream: Stream) -> RowWriter:
    writer: RowWriter = _parquet().ParquetTable(stream)
    return writer


def _parquet() -> Any:
    try:
        from server.cli import export_parquet  # noqa: PLC0415 - where it is asked for; it takes 50 MB
    except ImportError as error:
        words = f"parquet takes pyarrow, which is not installed: {sys.executable} -m pip install '{PYARROW}'"
        raise CommandFailed(MISTAKE, f"{words} ({error})") from None
    return export_parquet


FORMATS: Mapping[str, Format] = {
    "ndjson": Format(JsonLines, _lines_keys),
    "ndjson.zst": Format(PackedLines, _packed_keys),
    "csv": Format(CsvTable, _csv_keys),
    "parquet": Format(_parquet_writer, _parquet_keys),
}
