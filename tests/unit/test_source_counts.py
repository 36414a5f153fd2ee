"""The counts of sources as a table: how wide it is, and what is left out."""

import sys

import pytest

from server.cli.source_counts import print_counts

NONE = dict.fromkeys(("received", "replayed", "requeued", "processed", "duplicate", "dropped", "dead", "pending"), 0)


def printed(capsysbinary: pytest.CaptureFixture[bytes], *sources: dict[str, int]) -> list[str]:
    """The lines of a table of these sources, whose ids are letters."""
    print_counts(dict(zip("abc", sources, strict=False)))
    return capsysbinary.readouterr().out.decode().splitlines()


def test_counts_of_zero_are_left_out(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """A column stands there if a source has a number in it; the order is that of the counts."""
    some = NONE | {"received": 1234567, "processed": 7}
    assert printed(capsysbinary, some, NONE, NONE | {"dead": 1}) == [
        "SOURCE   RECEIVED  PROCESSED  DEAD",
        "a       1,234,567          7     0",
        "b               0          0     0",
        "c               0          0     1",
    ]
    assert printed(capsysbinary, NONE) == ["SOURCE", "a"]
    assert printed(capsysbinary) == []


def test_wide_counts_go_on_below(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is wider than the terminal: the counts that have no room stand in another table, with their source."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    every = dict.fromkeys(NONE, 10**9)
    for columns in (40, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = printed(capsysbinary, every, NONE)
        assert max(map(len, lines)) <= columns
        heads = [line.split() for line in lines if line.startswith("SOURCE")]
        assert [name for head in heads for name in head[1:]] == [name.upper() for name in NONE]
        assert lines.count("") == len(heads) - 1
    assert len(printed(capsysbinary, NONE | {"pending": 5})) == 2
