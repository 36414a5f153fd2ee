"""What commands print: a table for people, JSON for programs, and colours for terminals alone."""

import io
import re
import sys
from collections.abc import Callable, Iterator

import orjson
import pytest

from server.base.colours import has_colours
from server.cli.output import BLOCK_CHARACTERS, BLOCK_ROWS, RED, Column, paint, print_record, print_rows

DEPTH = 1000
"""More than Python calls into itself."""

Capture = pytest.CaptureFixture[str]

COLUMNS = (
    Column("NAME", "name"),
    Column("COUNT", "count", is_number=True),
    Column("", lambda row: row.get("words"), style=lambda _: RED),
)

ROWS = [{"name": "a", "count": 7}, {"name": "longer", "count": 1000, "words": "x\x1b[31m\ny"}]


def strip(line: str) -> str:
    """The line without its styles."""
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes stdout a terminal of this width, with colours."""

    def make(columns: int) -> None:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    return make


def test_columns_are_aligned_and_escaped(capsys: Capture) -> None:
    """Columns are as wide as they need to be, numbers stand to the right, and no value drives a terminal."""
    assert print_rows(ROWS, COLUMNS, "table") == 2
    assert capsys.readouterr().out.splitlines() == [
        "NAME    COUNT",
        "a           7",
        r"longer   1000  x\x1b[31m\ny",
    ]


def test_programs_get_whole_rows(capsys: Capture) -> None:
    """In a pipe rows are JSON lines, or one list where that is asked for, with all that they hold."""
    assert print_rows(iter(ROWS), COLUMNS) == 2
    assert [orjson.loads(line) for line in capsys.readouterr().out.splitlines()] == ROWS
    assert print_rows(iter(ROWS), COLUMNS, "json") == 2
    assert orjson.loads(capsys.readouterr().out) == ROWS


@pytest.mark.parametrize(("shape", "text"), [("table", ""), ("json", "[]\n"), ("ndjson", ""), (None, "")])
def test_no_row_is_no_head(shape: str | None, text: str, capsys: Capture) -> None:
    """Nothing is printed where there is nothing, but for the empty list."""
    assert print_rows([], COLUMNS, shape) == 0
    assert capsys.readouterr().out == text


def test_a_long_list_is_printed_in_blocks(capsys: Capture) -> None:
    """A list of any length is printed as it is read: a block is on stdout before the one after the next is made."""
    made = 0
    seen: list[str] = []

    def rows() -> Iterator[dict[str, object]]:
        nonlocal made
        for number in range(3 * BLOCK_ROWS):
            made = number + 1
            if number == BLOCK_ROWS:
                seen.append(capsys.readouterr().out)
            yield {"name": "x" * (1 + number // BLOCK_ROWS), "count": number}

    assert print_rows(rows(), COLUMNS, "table") == made == 3 * BLOCK_ROWS
    assert len(seen[0].splitlines()) == BLOCK_ROWS + 1
    rest = capsys.readouterr().out.splitlines()
    assert len(rest) == 2 * BLOCK_ROWS
    assert rest[-1] == "xxx    2999"


def test_large_cells_end_a_block_sooner(capsys: Capture) -> None:
    """Of rows with large texts no more are held than a few, and none is made longer by another one."""
    seen: list[str] = []

    def rows() -> Iterator[dict[str, object]]:
        for number in range(4):
            seen.append(capsys.readouterr().out)
            yield {"count": number, "text": "x" * (1 if number % 2 else BLOCK_CHARACTERS)}

    columns = [Column("COUNT", "count", is_number=True), Column("TEXT", "text")]
    assert print_rows(rows(), columns, "table") == 4
    assert [len(each.splitlines()) for each in seen] == [0, 2, 0, 2]
    assert [len(each) < 20 for each in seen[3].splitlines()] == [True, False]


def test_terminals_get_tables_in_colour(terminal: Callable[[int], None], capsys: Capture) -> None:
    """A terminal gets a table, its head bold, styles where columns have them, and lines that fit."""
    terminal(60)
    print_rows([*ROWS, {"name": "b", "words": "w" * 90}], COLUMNS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "\x1b[1mNAME    COUNT\x1b[0m"
    assert lines[3] == f"b              \x1b[31m{'w' * 44}…\x1b[0m"


WIDE = (
    Column("NUMBER", "number", is_number=True),
    Column("KIND", "kind"),
    Column("ID", "id"),
    Column("AT", "at"),
    Column("ERROR", "error"),
)


def wide(**others: object) -> dict[str, object]:
    """A row whose texts are short, but for these."""
    return {"number": 1, "kind": "k" * 30, "id": "i" * 10, "at": "t" * 24, "error": "e" * 12} | others


def test_the_widest_texts_are_cut_first(terminal: Callable[[int], None], capsys: Capture) -> None:
    """One long id makes no row wider than the terminal: the widest texts are cut until all fit, and no further."""
    terminal(140)
    print_rows([wide(id="i" * 512), wide()], WIDE)
    _, long, short = [strip(line) for line in capsys.readouterr().out.splitlines()]
    assert long == f"     1  {'k' * 30}  {'i' * 59}…  {'t' * 24}  {'e' * 12}"
    assert short == f"     1  {'k' * 30}  {'i' * 10}{' ' * 50}  {'t' * 24}  {'e' * 12}"
    assert len(long) == 140


def test_a_column_keeps_room_for_ids(terminal: Callable[[int], None], capsys: Capture) -> None:
    """However narrow the terminal is: a number is whole, and so is a text that is as long as a UUID, to be copied."""
    terminal(20)
    print_rows([wide(id="i" * 36, kind="k" * 37, number=10**30, error="e" * 99)], WIDE)
    _, line = capsys.readouterr().out.splitlines()
    assert strip(line) == f"{10**30}  {'k' * 35}…  {'i' * 36}  {'t' * 24}  {'e' * 39}…"


def test_a_last_number_is_never_cut(terminal: Callable[[int], None], capsys: Capture) -> None:
    """Where the last column has numbers, the others make room for it."""
    terminal(60)
    print_rows([{"name": "n" * 99, "count": 10**15}], COLUMNS[:2])
    _, line = capsys.readouterr().out.splitlines()
    assert line == f"{'n' * 41}…  {10**15}"


def test_a_pipe_gets_whole_tables(capsys: Capture) -> None:
    """Where a table is asked for and stdout is no terminal, no cell is cut."""
    print_rows([wide(id="i" * 512, error="e" * 512)], WIDE, "table")
    assert capsys.readouterr().out.splitlines()[1].split() == ["1", "k" * 30, "i" * 512, "t" * 24, "e" * 512]


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_turned_off(
    name: str, value: str, terminal: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_COLOR, and a terminal that has none, turn them off; an empty NO_COLOR does not; a file never has them."""
    terminal(80)
    assert paint("x", RED) == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "")
    assert has_colours(sys.stdout)
    monkeypatch.setenv(name, value)
    assert paint("x", RED) == "x"
    assert not has_colours(io.StringIO())


def test_a_record_has_a_line_for_each_key(capsys: Capture) -> None:
    """A record is a line for each key, those of objects below theirs, and lists as JSON; in a pipe it is one line of
    JSON."""
    value = {"id": "a\n", "attempts": 0, "error": None, "headers": {"x": 1, "y\n": {}}, "list": [{"a": 1}]}
    print_record(value, "table")
    assert capsys.readouterr().out.splitlines() == [
        r"id        a\n",
        "attempts  0",
        "error",
        "headers",
        "  x       1",
        r"  y\n     {}",
        'list      [{"a":1}]',
    ]
    for shape in (None, "json", "ndjson"):
        print_record(value, shape)
        out = capsys.readouterr().out
        assert (len(out.splitlines()), orjson.loads(out)) == (1, value)


def test_a_deep_record_is_shown_all_the_same(capsys: Capture) -> None:
    """However deep it is: what is below the first few objects is JSON."""
    value: dict[str, object] = {"x": 1}
    for _ in range(DEPTH):
        value = {"x": value}
    print_record(value, "table")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["x", "  x", "    x"]
    assert lines[3].startswith('      x  {"x":{"x":')
    assert len(lines) == 4
