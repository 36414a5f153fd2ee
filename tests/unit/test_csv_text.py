"""CSV of the commands: no text in it is a formula, and each can be had back as it was."""

import csv
import io

import pytest

from server.cli.csv_text import as_csv, unguarded


def read(data: bytes) -> list[list[str]]:
    """The cells, by another reader."""
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=1+1", "''-1"])
def test_a_formula_is_written_as_text(text: str) -> None:
    """What a spreadsheet would run gets an apostrophe in front, also where it has some, and is had back without it."""
    [[cell]] = read(as_csv([[text]]))
    assert cell == f"'{text}"
    assert unguarded(cell) == text


def test_a_terminal_gets_no_commands() -> None:
    """What would drive a terminal is escaped for one, and stays as it is for all else."""
    text = "\x1b]0;pwn\x07 \x9b31m"
    assert b"\\x1b]0;pwn\\x07 \\x9b31m" in as_csv([[text]], for_terminal=True)
    assert text.encode() in as_csv([[text]])


@pytest.mark.parametrize("text", ["", "'", "'quoted'", "a=1", " =1", '{"n":-1}', "ä,\n'"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    """Nothing is added to what no spreadsheet runs, and nothing taken away from it."""
    [[cell, _]] = read(as_csv([[text, "x"]]))
    assert (cell, unguarded(cell)) == (text, text)


def test_a_negative_number_stays_a_number() -> None:
    """Numbers are no texts, and what is not there is an empty cell."""
    assert as_csv([[-1, 2.5, None]]) == b"-1,2.5,\r\n"
