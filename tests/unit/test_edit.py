"""The text of a configuration is edited: what is meant comes in, and all else stays, byte for byte."""

import tomllib
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.config.edit import CannotEdit, edited, with_first, with_first_only, with_source

SETTINGS = {"type": "webhook", "tokens": [], "signing_secrets": ["file:secrets/new-signing-1"], "processor": "mö.x:f"}

PIECES = st.sampled_from(
    [
        "# a comment",
        "#[sources.new]",
        "",
        "   ",
        '[server]\nbind = "127.0.0.1:0"   # here',
        "[limits]\nbody_bytes_max = 1_000_000",
        "[sources.a]\ntype = 'segment'\ntokens = [ # two\n  'x', # old\n\n  \"y\",\n]\n# behind a",
        '[sources."b"]\ntype = "webhook"\ntokens = ["x"]\n  [sources.b.deeper]\n  z = 1',
        '[sources.c]\ntype="webhook"\ntokens=["""\nlong\n[sources.new]\n"""]',
        "[sources]\nd.type = 'webhook'\ne = { tokens = ['x'] }",
        "[dedup]\nwindow_hours = 96.0 # ü €",
    ]
)

LISTS = (
    '["old"]',
    "['old']",
    '[ "old" ]',
    '["old",]',
    '["old", "older"]',
    '[\n  "old", # of May\n  # a comment\n  "older",\n]',
    '[\n  "old"\n]',
    '[ # why\n"old"]',
    '["old",\n "older"]',
    '[\n\t"old" , "older" # both\n\t]',
)

PLACES = (
    "# before\n[sources.it]\ntokens = LIST # beside\ntype = 'webhook'\n\n[server]\n# behind",
    "[sources.other]\ntokens = ['x']\n[server]\n[sources.it]\n  tokens=LIST\n[limits]\n[sources.last]\ntokens = []\n",
    "[sources]\nit.tokens = LIST\nit.type = 'segment'\n",
    "sources.it.type = 'segment'\nsources.it.tokens = LIST",
    "[sources.it]\ntype = 'webhook'\nnote = '''\ntokens = [\"old\"]\n'''\ntokens = LIST\n",
    "[ sources . it ]\n\"tokens\" = LIST\n['sources'.\"another\"]\ntokens = ['old']\n",
)
INLINE = ("[sources]\nit = { type = 'webhook', tokens = LIST } # beside\n", "sources = { it = { tokens = LIST } }\n")

TEXTS = [
    place.replace("LIST", entries).replace("\n", line_end)
    for place, entries, line_end in [
        *product(PLACES, LISTS, ("\n", "\r\n")),
        *product(INLINE, [each for each in LISTS if "\n" not in each], ("\n", "\r\n")),
    ]
]


def entries_of(text: str) -> list[str]:
    found: list[str] = tomllib.loads(text)["sources"]["it"]["tokens"]
    return found


def without_entries(text: str) -> dict[str, object]:
    tree = tomllib.loads(text)
    del tree["sources"]["it"]["tokens"]
    return tree


@given(
    pieces=st.lists(PIECES, unique=True),
    line_end=st.sampled_from(["\n", "\r\n"]),
    end=st.sampled_from(["", "\n", "\n\n"]),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_a_source_goes_behind_everything(pieces: list[str], line_end: str, end: str, mark: bytes) -> None:
    """All bytes that were there stay before it, and it is all that is new, in the file's own line ends."""
    text = ("\n".join(pieces) + end).replace("\n", line_end)
    try:
        before = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # pieces that do not go together
    content = edited(mark + text.encode(), lambda text: with_source(text, "new", SETTINGS))
    assert content.startswith(mark + text.encode())
    tree = tomllib.loads(content.decode("utf-8-sig"))
    assert tree["sources"].pop("new") == SETTINGS
    assert tree == {"sources": {}} | before
    if line_end == "\r\n" and "\n" in text:
        assert content.count(b"\n") == content.count(b"\r\n")


@pytest.mark.parametrize(
    "text", ["sources = {}", "sources = { a = { type = 'segment' } }", "sources = 1", "[[sources]]"]
)
def test_sources_on_one_line_are_refused(text: str) -> None:
    """Where no table can be added, the message says how sources have to be written."""
    with pytest.raises(CannotEdit, match=r"\[sources\.NAME\]"):
        with_source(text, "new", SETTINGS)


def test_a_name_is_taken_only_once() -> None:
    """A source of that name stays as it is."""
    with pytest.raises(CannotEdit, match="'a' already"):
        with_source("[sources.a]\ntype = 'segment'\n", "a", SETTINGS)


@pytest.mark.parametrize("text", TEXTS)
def test_an_entry_is_all_that_is_new(text: str) -> None:
    """The new entry comes first, and what was there is before and behind it, wherever and however it is written."""
    found = with_first(text, "it", "tokens", "new")
    assert entries_of(found) == ["new", *entries_of(text)]
    assert without_entries(found) == without_entries(text)
    added = len(found) - len(text)
    assert any(found[:at] + found[at + added :] == text for at in range(len(text) + 1))
    assert ("\r\n" in text) == ("\r\n" in found)
    assert found.count("\n") - found.count("\r\n") == text.count("\n") - text.count("\r\n") or "\r\n" not in text


@pytest.mark.parametrize("text", TEXTS)
def test_only_the_first_entry_stays(text: str) -> None:
    """Without the others the list has its first entry, and all outside of the list is as it was."""
    found = with_first_only(text, "it", "tokens")
    assert entries_of(found) == ["old"]
    assert without_entries(found) == without_entries(text)
    before, after = (part.strip("\r\n\t ") for part in text.split("old", 1))
    assert found.startswith(before)
    assert found.endswith(text.rpartition("]" if "]" in after else "}")[2])
    assert with_first_only(with_first(text, "it", "tokens", "new"), "it", "tokens").count("new") == 1


def test_a_list_that_is_not_there() -> None:
    """A source or a list that is gone is said to be for people, not for a traceback."""
    for text in ("", "[sources.it]\n", "[sources.it]\ntokens = 7\n", "sources = 7\n"):
        with pytest.raises(CannotEdit, match=r"sources\.it\.tokens"):
            with_first(text, "it", "tokens", "new")
