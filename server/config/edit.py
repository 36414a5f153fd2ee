"""Edits the text of a configuration: a source goes behind it, an entry into a list. All else stays, byte for byte.

What comes out is compared with what was meant before anybody gets it: so no slip of the library, which is asked only
where a list stands and how it is laid out, can change another key.
"""

import copy
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import tomlkit
from tomlkit.items import Array

Edit = Callable[[str], str]
"""Takes the text of a file and returns the new one. Raises CannotEdit."""

BYTE_ORDER_MARK = "\ufeff"


class CannotEdit(Exception):
    """The text is written in a way that only people can edit. The message says what to do."""


def edited(content: bytes, edit: Edit) -> bytes:
    """Return the content of a file with its text edited; a byte order mark stays before it. Raises CannotEdit."""
    text = content.decode()
    mark = BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else ""
    return (mark + edit(text.removeprefix(mark))).encode()


def with_source(text: str, name: str, settings: Mapping[str, Any]) -> str:
    """Return the text with a table `[sources.NAME]` behind it, in the line ends that it has."""
    line_end = "\r\n" if 2 * text.count("\r\n") > text.count("\n") else "\n"
    gap = "" if not text or text.endswith(2 * line_end) else line_end
    before = text if not text or text.endswith("\n") else text + line_end
    table = f"[sources.{name}]\n{tomlkit.dumps(settings)}".replace("\n", line_end)
    wanted = tomllib.loads(text)
    sources = wanted.setdefault("sources", {})
    if isinstance(sources, dict) and sources.setdefault(name, settings) is not settings:
        raise CannotEdit(f"there is a source {name!r} already")
    words = "`sources` is written on one line, where nothing can be added: write each as a table, [sources.NAME]"
    return _checked(before + gap + table, wanted, words)


def with_first(text: str, source: str, key: str, entry: str) -> str:
    """Return the text with another entry at the head of this list of a source."""

    def change(layout: Array) -> str:
        written = layout.as_string()
        if "\n" not in written:
            start = 1 + len(written[1:]) - len(written[1:].lstrip())
            return f"{written[:start]}{tomlkit.string(entry).as_string()}, {written[start:]}"
        layout.insert(0, entry)
        return layout.as_string()

    return _with_list(text, source, key, change, lambda entries: [entry, *entries])


def with_first_only(text: str, source: str, key: str) -> str:
    """Return the text with the first entry of this list alone, without the others and what is said beside them."""

    def change(layout: Array) -> str:
        while len(layout) > 1:
            del layout[1]
        return layout.as_string()

    return _with_list(text, source, key, change, lambda entries: entries[:1])


def _with_list(
    text: str, source: str, key: str, change: Callable[[Array], str], meant: Callable[[list[Any]], list[Any]]
) -> str:
    """Return the text with what `change` writes in the place of a list, checked against what is `meant`."""
    words = f"the list sources.{source}.{key} is written in a way that only you can edit"
    wanted = tomllib.loads(text)
    try:
        wanted["sources"][source][key] = meant(wanted["sources"][source][key])
        before, layout, after = _place(text, source, key)
        found = before + change(layout) + after
    except Exception as error:
        raise CannotEdit(words) from error
    return _checked(found, wanted, words)


def _place(text: str, source: str, key: str) -> tuple[str, Array, str]:
    """Return what is before the list, the list, and what is behind it. Raises whatever the library does."""
    document = tomlkit.parse(text)
    table: Any = document["sources"]
    layout = copy.deepcopy(table[source][key])
    mark = "here"
    while mark in text:
        mark += "+"
    table[source][key] = mark
    before, _, after = tomlkit.dumps(document).partition(f'"{mark}"')
    if before + layout.as_string() + after != text:
        raise CannotEdit
    return before, layout, after


def _checked(text: str, wanted: Mapping[str, Any], words: str) -> str:
    try:
        if tomllib.loads(text) == wanted:
            return text
    except tomllib.TOMLDecodeError:
        pass  # refused like a text that says something else
    raise CannotEdit(words)
