"""The formats of an export: each a writer of rows into a stream, and a reader of the same rows, for `verify`.

A writer takes rows one by one, page by page, and keeps little of them; `close` writes what is left, not the stream's
end.
"""

import csv
import io
import json
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
from server.observe.exports import ALWAYS, COLUMNS, NUMBERS, Cells, cells
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
    """How rows are written, and read."""

    writer: Callable[[Stream], RowWriter]
    read: Callable[[Path], Iterator[Cells]]
    """Yields the rows of a file, one by one. Raises UNREADABLE."""
    cells: Callable[[Value], Cells] = cells
    """Returns a row as `read` does, once it was written."""


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
        self._for_terminal = stream.isatty()
        self._stream.write(as_csv([COLUMNS]))

    def write(self, rows: Iterable[Value]) -> None:
        for portion in _portions(as_csv([cells(row)], for_terminal=self._for_terminal) for row in rows):
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

UNREADABLE = (ValueError, OverflowError, RecursionError, csv.Error, zstandard.ZstdError)

_ALWAYS, _EVER = frozenset(ALWAYS), frozenset(COLUMNS)


def _rows_of_lines(lines: Iterable[bytes]) -> Iterator[Cells]:
    for line in lines:
        row = orjson.loads(line)
        if not isinstance(row, dict) or not _ALWAYS <= row.keys() <= _EVER:
            raise ValueError("it is not an object with the keys of an event")
        if "result" in row:
            row = json.loads(line)  # orjson makes floats of large integers
        yield cells(row)


def _lines_rows(path: Path) -> Iterator[Cells]:
    with path.open("rb") as file:
        yield from _rows_of_lines(file)


def _packed_rows(path: Path) -> Iterator[Cells]:
    unpacker = zstandard.ZstdDecompressor()
    with path.open("rb") as file, unpacker.stream_reader(file, read_across_frames=True) as unpacked:
        yield from _rows_of_lines(io.BufferedReader(unpacked))


def _csv_rows(path: Path) -> Iterator[Cells]:
    csv.field_size_limit(2**31 - 1)  # a payload may be longer than the usual 128 KiB
    with path.open("rb") as file:
        table = csv.reader((line.decode() for line in file), strict=True)
        if tuple(next(table, ())) != COLUMNS:
            raise ValueError("its head does not name the columns of an event")
        for texts in table:
            if len(texts) != len(COLUMNS):
                raise ValueError(f"it has {len(texts)} cells in place of {len(COLUMNS)}")
            values: list[Any] = [unguarded(text) or None for text in texts]
            for place in _NUMBER_PLACES:
                values[place] = int(texts[place])
            yield Cells(*values)


_NUMBER_PLACES = [COLUMNS.index(column) for column in NUMBERS]


def _csv_cells(row: Value) -> Cells:
    """Return a row without empty texts, since a table has nothing else for what is not there."""
    values: Iterator[Any] = (None if cell == "" else cell for cell in cells(row))
    return Cells(*values)


def _parquet_rows(path: Path) -> Iterator[Cells]:
    found: Iterator[Cells] = _parquet().read(path)
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
    "ndjson": Format(JsonLines, _lines_rows),
    "ndjson.zst": Format(PackedLines, _packed_rows),
    "csv": Format(CsvTable, _csv_rows, _csv_cells),
    "parquet": Format(_parquet_writer, _parquet_rows),
}
