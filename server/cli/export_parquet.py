"""Parquet, with pyarrow: the one file that imports it, where that is asked for."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from server.cli.export_file import Stream
from server.observe.exports import COLUMNS, NUMBERS, TIMES, Key, cells
from server.observe.receipts import Value

GROUP_ROWS_MAX = 10_000
GROUP_BYTES_MAX = 16 * 2**20
"""A row group ends with the row that reaches either; the bytes are those of payloads as text."""


def _type(column: str) -> Any:
    if column in NUMBERS:
        return pyarrow.int64()
    return pyarrow.timestamp("ms", tz="UTC") if column in TIMES else pyarrow.string()


SCHEMA = pyarrow.schema([(column, _type(column)) for column in COLUMNS])
_PAYLOAD = COLUMNS.index("payload")


class ParquetTable:
    """One table; rows are kept until they fill a row group."""

    def __init__(self, stream: Stream) -> None:
        self._writer = pyarrow.parquet.ParquetWriter(_Sink(stream), SCHEMA, compression="zstd")
        self._rows: list[Sequence[Any]] = []
        self._bytes = 0

    def write(self, rows: Iterable[Value]) -> None:
        for row in rows:
            values = cells(row)
            self._bytes += len(values[_PAYLOAD] or "")
            self._rows.append(values)
            if len(self._rows) >= GROUP_ROWS_MAX or self._bytes >= GROUP_BYTES_MAX:
                self._write_group()

    def close(self) -> None:
        if self._rows:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        columns = [_array(field, values) for field, values in zip(SCHEMA, zip(*self._rows, strict=True), strict=True)]
        self._writer.write_table(pyarrow.Table.from_arrays(columns, schema=SCHEMA))
        self._rows, self._bytes = [], 0


class _Sink:
    """A file of Python's, as pyarrow asks for one, around a stream."""

    closed = False

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._at = 0

    def write(self, data: bytes) -> int:
        self._stream.write(bytes(data))
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        pass  # the stream is flushed by whom it belongs to

    def close(self) -> None:
        pass  # as flush


def _array(field: Any, values: Sequence[Any]) -> Any:
    if field.name in TIMES:
        values = [None if value is None else datetime.fromisoformat(value) for value in values]
    return pyarrow.array(values, field.type)


def keys(path: Path) -> Iterator[Key]:
    """Yield the keys of the rows of a file."""
    file = pyarrow.parquet.ParquetFile(path)
    wanted = ["number", "source_config_id", "inbound_event_id", "outcome", "forgotten_at"]
    for batch in file.iter_batches(columns=wanted):
        rows = zip(*(batch.column(name).to_pylist() for name in wanted), strict=True)
        for number, source_id, event_id, outcome, forgotten_at in rows:
            yield Key(number, source_id, event_id, outcome, forgotten_at is not None)
