"""What a command prints on stdout: tables for people, JSON for programs.

A command that lists things has `format_option()` among its parameters and hands the `shape` that it gets on:

    COLUMNS = (
        Column("SOURCE", "source_config_id"),
        Column("ATTEMPTS", "attempts", is_number=True),
        Column("ERROR", lambda row: one_line(row["error"]), style=lambda _: RED),
    )
    count = print_rows(rows, COLUMNS, shape)      # any iterable of dicts; a million of them take no memory
    print_record(value, shape)                    # a single dict

Where no shape is said, a terminal gets a table, and whatever else reads stdout gets JSON: a value a line for rows, and
one compact value for a record. The JSON has the whole of each row, whatever the columns are. Where a value is nested
and a table of it would say less than its JSON, `print_json` indents it for a terminal.

Colours are for terminals, and not where NO_COLOR is set or TERM is `dumb`. What comes from elsewhere is escaped in both
shapes, so that it cannot drive a terminal.
"""

import select
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from server.base.colours import has_colours
from server.base.json_text import json_text
from server.base.printable import printable

Row = Mapping[str, Any]
Cells = tuple[Sequence[str], Sequence[str]]
"""The texts of a row of a table, and their styles."""

RED, GREEN, YELLOW, BOLD, DIM, PLAIN = "31", "32", "33", "1", "2", ""
"""Styles, as terminals number them."""

BLOCK_ROWS, BLOCK_CHARACTERS = 1000, 2**20
"""Columns are as wide as so many rows together need, fewer where they have so much text: a long list begins at once,
and takes bounded memory."""

LAST_COLUMN_MIN = 40
"""Characters that the last column of a table keeps, however narrow the terminal is."""

COLUMN_MIN = 36
"""The same of the other columns: a UUID, to be copied, and a time are whole."""

GAP = "  "

DEPTH_MAX = 3
"""Of objects in a record that have lines of their own."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its title, and the key of each row's value, or a function of the row. None is blank."""

    title: str
    cell: str | Callable[[Row], object]
    is_number: bool = False
    """To the right."""
    style: Callable[[Row], str] = lambda _: PLAIN

    def text(self, row: Row) -> str:
        value = row.get(self.cell) if isinstance(self.cell, str) else self.cell(row)
        return "" if value is None else printable(str(value))


def is_table(shape: str | None) -> bool:
    """Return whether people read it: where that is asked for, or nothing is and stdout is a terminal."""
    return sys.stdout.isatty() if shape is None else shape == "table"


def print_rows(rows: Iterable[Row], columns: Sequence[Column], shape: str | None = None) -> int:
    """Print the rows as a table, as a JSON list, or as JSON lines; return how many there were. No row, no head."""
    rows = iter(rows)
    if is_table(shape):
        return _print_table(rows, columns)
    return _print_list(rows) if shape == "json" else _print_lines(rows)


def print_record(value: Row, shape: str | None = None) -> None:
    """Print one value: a line for each of its keys, those of objects in it below theirs, or as JSON."""
    if is_table(shape):
        lines = list(_lines(value))
        width = max((len(key) for key, _ in lines), default=0)
        for key, text in lines:
            _print_line(f"{paint(key.ljust(width), DIM)}{GAP}{text}".rstrip())
    elif shape == "ndjson":
        print_bytes(json_text(value) + b"\n")
    else:
        print_json(value)


def print_json(value: object) -> None:
    """Print a JSON value on stdout: indented for a terminal, on one line for a program."""
    print_bytes(json_text(value, indent=sys.stdout.isatty()) + b"\n")


def print_bytes(data: bytes) -> None:
    """Print bytes on stdout, whatever the locale."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def is_read() -> bool:
    """Return whether stdout can still be read: not if it is a pipe or a socket whose reader has gone. For who waits
    with nothing to print, and would not hear of it."""
    stdout = select.poll()
    stdout.register(1, 0)  # POLLERR and POLLHUP are told without being asked for
    return not any(told & (select.POLLERR | select.POLLHUP) for _, told in stdout.poll(0))


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return the text in a style, if this stream, or stdout, shows colours."""
    return f"\x1b[{style}m{text}\x1b[0m" if style and has_colours(stream or sys.stdout) else text


def _print_table(rows: Iterator[Row], columns: Sequence[Column]) -> int:
    count, needed = 0, [len(column.title) for column in columns]
    for block in _blocks(rows, columns):
        lengths = zip(*([len(text) for text in texts] for texts, _ in block), strict=True)
        needed = [max(width, *column) for width, column in zip(needed, lengths, strict=True)]
        widths = _fitting(needed, columns) if sys.stdout.isatty() else needed
        if not count:
            head = _padded([column.title for column in columns], widths, columns)
            _print_line(paint(GAP.join(head).rstrip(), BOLD))
        for texts, styles in block:
            padded = _padded(texts, widths, columns)
            _print_line(GAP.join(map(paint, padded, styles)).rstrip())
        count += len(block)
    return count


def _blocks(rows: Iterator[Row], columns: Sequence[Column]) -> Iterator[list[Cells]]:
    """Yield the rows as cells, BLOCK_ROWS or some more than BLOCK_CHARACTERS together."""
    block: list[Cells] = []
    characters = 0
    for row in rows:
        texts = [column.text(row) for column in columns]
        block.append((texts, [column.style(row) for column in columns]))
        characters += sum(map(len, texts))
        if len(block) == BLOCK_ROWS or characters > BLOCK_CHARACTERS:
            yield block
            block, characters = [], 0
    if block:
        yield block


def _fitting(needed: Sequence[int], columns: Sequence[Column]) -> Sequence[int]:
    """Return the widths with which a line fits the terminal, if it can: the widest texts are cut first, the last column
    to what the others leave. Numbers are whole."""
    *others, last = needed
    room = shutil.get_terminal_size().columns - len(GAP) * len(others)
    least = last if columns[-1].is_number else min(last, LAST_COLUMN_MIN)
    widths = others
    for most in range(max(room, COLUMN_MIN), COLUMN_MIN - 1, -1):
        pairs = zip(others, columns[:-1], strict=True)
        widths = [width if column.is_number else min(width, most) for width, column in pairs]
        if sum(widths) + least <= room:
            break
    return [*widths, max(least, min(last, room - sum(widths)))]


def _padded(texts: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> list[str]:
    """Return the cells of a line, cut and padded to their columns. A last text is not padded: another may be long."""
    pairs = zip(texts, widths, columns, strict=True)
    cells = [text.rjust(width) if column.is_number else _cut(text, width) for text, width, column in pairs]
    return [*map(str.ljust, cells[:-1], widths), cells[-1]]


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _print_list(rows: Iterator[Row]) -> int:
    """Print a JSON list, one row a line, as it is read."""
    count = 0
    for row in rows:
        print_bytes((b",\n" if count else b"[\n") + json_text(row))
        count += 1
    print_bytes(b"\n]\n" if count else b"[]\n")
    return count


def _print_lines(rows: Iterator[Row]) -> int:
    count = 0
    for row in rows:
        print_bytes(json_text(row) + b"\n")
        count += 1
    return count


def _lines(record: Row, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield the keys of a record and what stands beside them: nothing beside that of an object, whose keys follow, as
    deep as is read with ease."""
    for key, value in record.items():
        has_lines = isinstance(value, Mapping) and bool(value) and depth < DEPTH_MAX
        yield f"{GAP * depth}{printable(key)}", "" if has_lines else _shown(value)
        if has_lines:
            yield from _lines(value, depth + 1)


def _shown(value: object) -> str:
    """Return a value of a record as it stands in a line: text as it is, what is nested as JSON."""
    if value is None:
        return ""
    return printable(value) if isinstance(value, str) else json_text(value).decode()


def _print_line(line: str) -> None:
    print_bytes(line.encode() + b"\n")
