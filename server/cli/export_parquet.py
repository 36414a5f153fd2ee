"""Parquet, with pyarrow: the one file that imports it, where that is asked for."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from server.cli.export_file import Stream
from server.intake.events import rfc3339
from server.observe.exports import COLUMNS, NUMBERS, TIMES, Cells, cells
from server.observe.receipts import Value

GROUP_ROWS_MAX = 10_000
GROUP_BYTES_MAX = 16 * 2**20
"""A row group ends with the row that reaches either; the bytes are those of payloads as text."""


def _type(column: str) -> Any:
    if column in NUMBERS:
        return pyarrow.int64()
    return pyarrow.timestamp("ms", tz="UTC") if column in TIMES else pyarrow.string()


SCHEMA = pyarrow.schema([(column, _type(column)) for column in COLUMNS])

ROWS_READ = 500
"""At a time, of one row group: their texts are in memory."""


class ParquetTable:
    """One table; rows are kept until they fill a row group."""

    def __init__(self, stream: Stream) -> None:
        self._writer = pyarrow.parquet.ParquetWriter(_Sink(stream), SCHEMA, compression="zstd")
        self._rows: list[Cells] = []
        self._bytes = 0

    def write(self, rows: Iterable[Value]) -> None:
        for row in rows:
            values = cells(row)
            self._bytes += len(values.payload or "")
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


def read(path: Path) -> Iterator[Cells]:
    """Yield the rows of a file. Raises ValueError if it is not a table of events."""
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if not file.schema_arrow.equals(SCHEMA):
                raise ValueError("its columns are not those of an event")
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(ROWS_READ, row_groups=[group]):
                    yield from map(Cells, *map(_values, SCHEMA, batch.columns))
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(str(error)) from None


def _values(field: Any, column: Any) -> Sequence[Any]:
    """Return what `_array` was given."""
    if field.name not in TIMES:
        values: Sequence[Any] = column.to_pylist()
        return values
    return [None if at_ms is None else rfc3339(at_ms) for at_ms in column.cast(pyarrow.int64()).to_pylist()]
