"""The counts of every source as a table for people: what is 0 of all of them is left out."""

import shutil
import sys
from collections.abc import Mapping, Sequence

from server.cli.output import COLUMN_MIN, GAP, Column, Row, print_bytes, print_rows

SOURCE = Column("SOURCE", "source")


def print_counts(sources: Mapping[str, Mapping[str, int]]) -> None:
    """Print a row a source. What the terminal is too narrow for follows in a table of its own. No source: nothing."""
    rows = [{"source": source_id, **_words(counts)} for source_id, counts in sources.items()]
    names = dict.fromkeys(name for counts in sources.values() for name, count in counts.items() if count)
    order = [name for name in next(iter(sources.values()), {}) if name in names]
    columns = [Column(name.replace("_", " ").upper(), name, is_number=True) for name in order]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for at, some in enumerate(_fitting(columns, rows, width) if rows else []):
        print_bytes(b"\n" if at else b"")
        print_rows(rows, [SOURCE, *some], "table")


def _words(counts: Mapping[str, int]) -> dict[str, str]:
    return {name: f"{count:,}" for name, count in counts.items()}


def _fitting(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> list[list[Column]]:
    """Return the columns in groups, each of which has room beside the names of the sources."""
    first = min(_width(SOURCE, rows), COLUMN_MIN)
    groups, used = [list[Column]()], first
    for column in columns:
        needed = len(GAP) + _width(column, rows)
        if width is not None and groups[-1] and used + needed > width:
            groups.append([])
            used = first
        groups[-1].append(column)
        used += needed
    return groups


def _width(column: Column, rows: Sequence[Row]) -> int:
    return max(len(column.title), *(len(column.text(row)) for row in rows))
