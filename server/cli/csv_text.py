"""CSV as the commands write it, for people who open it in a spreadsheet; and its cells as they were, for comparing."""

import csv
import io
from collections.abc import Iterable, Sequence

from server.base.printable import printable

RISKY = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a text that begins so for a formula, and runs it: it gets an apostrophe in front. So does one
with apostrophes there already, so that taking one away gives back what was."""


def as_csv(rows: Iterable[Sequence[object]], *, for_terminal: bool = False) -> bytes:
    """Return rows as RFC 4180 has them. No text among them is a formula; none drives a terminal if it is for one."""
    text = io.StringIO()
    csv.writer(text).writerows([_guarded(_escaped(cell) if for_terminal else cell) for cell in row] for row in rows)
    return text.getvalue().encode()


def unguarded(text: str) -> str:
    """Return the text that a cell was made of."""
    return text[1:] if text.startswith("'") and _is_risky(text) else text


def _escaped(cell: object) -> object:
    return printable(cell) if isinstance(cell, str) else cell


def _guarded(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and _is_risky(cell) else cell


def _is_risky(text: str) -> bool:
    return text.lstrip("'").startswith(RISKY)
