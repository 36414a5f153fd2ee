"""The log: lines that machines and people read, and that nobody can forge or flood."""

import io
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from server.base import log
from server.base.source import Source
from server.flow.source_state import SourceState
from storage.statuses import Totals

Lines = Callable[[], list[Any]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """What was said, as parsed lines of JSON."""
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    log.configure()
    yield lambda: [json.loads(line) for line in said.getvalue().splitlines()]
    structlog.reset_defaults()


def test_a_line_is_json_in_order(lines: Lines) -> None:
    """Time, level, name and event, then the rest."""
    log.get("tidegate").info("reloaded", sources=["a"])
    [line] = lines()
    assert list(line) == ["timestamp", "level", "name", "event", "sources"]


def test_a_line_cannot_be_forged(lines: Lines) -> None:
    """A line break in a value stays within its line."""
    log.get("tidegate").info("said", id='x\n{"event":"forged"}\x1b[31m')
    [line] = lines()
    assert line["event"] == "said"
    assert log.escape_controls(None, "", {"id": "a\n\x1b\u2028b"}) == {"id": "a\\n\\x1b\\u2028b"}


class Terminal(io.StringIO):
    """What says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_terminals_get_colours_and_nothing_else() -> None:
    """On a terminal no value, however deep it sits, and no exception's words bring a control character of their own."""
    said, evil = Terminal(), "\x1b]0;owned\x07\r\n\x9b2J\u202e"
    log.configure(said)
    try:
        raise ValueError(evil)
    except ValueError:
        log.get("tidegate").error(evil, id=evil, ids=[evil], known={evil: evil}, exc_info=True)
    logging.getLogger("a.library").warning("it says %s", evil)
    structlog.reset_defaults()
    text = re.sub(r"\x1b\[[0-9;]*m", "", said.getvalue())
    assert "ValueError" in text
    assert [line for line in text.split("\n") if not line.isprintable()] == []


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_form_and_level_can_be_said(stream: type[io.StringIO]) -> None:
    """JSON on a terminal and text in a pipe, where that is asked for; lines below the level are not written, those of
    libraries included."""
    for form in ("json", "console"):
        said = stream()
        log.configure(said, log.Style(form, "error"))
        for level in ("info", "warning", "error"):
            getattr(log.get("tidegate"), level)("said", level_of=level)
        logging.getLogger("a.library").warning("not said")
        logging.getLogger("a.library").error("said too")
        structlog.reset_defaults()
        lines = said.getvalue().splitlines()
        assert len(lines) == 2
        assert [line.startswith("{") for line in lines] == [form == "json"] * 2
        assert log.lines_lost(3, stream is Terminal, log.Style(form)).startswith("{") is (form == "json")


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR leaves the text for people as it is, and takes its colours."""
    said = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    for text in ("", "1"):
        monkeypatch.setenv("NO_COLOR", text)
        log.configure(said)
        log.get("tidegate").info("said")
        structlog.reset_defaults()
    first, second = said.getvalue().splitlines()
    assert ("\x1b[" in first, "\x1b[" in second, "said" in second) == (True, False, True)


def test_a_flood_is_one_line_a_second(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next line says how many were left out."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    throttled = log.Throttled("tidegate.http", "refused")
    for _ in range(5):
        throttled.warn("unauthorized", code="unauthorized")
    throttled.warn("timeout", code="timeout")
    now += log.THROTTLE_SECONDS
    throttled.warn("unauthorized", code="unauthorized")
    assert [(line["code"], line["suppressed"]) for line in lines()] == [
        ("unauthorized", 0),
        ("timeout", 0),
        ("unauthorized", 4),
    ]


def test_a_failing_processor_is_heard_of(lines: Lines) -> None:
    """The line names the source and the kind of error, never its words, which may hold a payload."""
    state = SourceState("crm", Totals())
    state.processor_failed(["ValueError: card 4111 refused", "ValueError: another"], 7)
    state.processor_failed(["ConnectionError: away"], 8, outage=True)
    assert state.counts.processor_failures == 3
    assert (state.last_error, state.last_error_at_ms) == ("ConnectionError: away", 8)
    [line] = lines()
    assert (line["event"], line["source"], line["kind"], line["outage"]) == (
        "processor failed",
        "crm",
        "ValueError",
        False,
    )


def test_a_death_is_heard_of(lines: Lines) -> None:
    """The line names the source and the kind of error; more of them in the same second are counted in the next."""
    state = SourceState("crm", Totals())
    state.event_died("ValueError: card 4111 refused")
    state.event_died("ValueError: card 4112 refused")
    [line] = lines()
    assert (line["event"], line["source"], line["kind"], "card" in str(line)) == (
        "event died",
        "crm",
        "ValueError",
        False,
    )


def test_a_reached_rate_limit_is_logged(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names source and mode, and how many events were over the limit since the line before."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    state = SourceState("crm", Totals())
    state.configure(Source("crm", "webhook", (b"",), rate_limit_events_per_second=1, over_limit="drop"))
    for events in (2, 3, 4):
        state.went_over(events)
    now += log.THROTTLE_SECONDS
    state.went_over(5)
    assert [(line["event"], line["source"], line["mode"], line["count"], line["suppressed"]) for line in lines()] == [
        ("over the rate limit", "crm", "drop", 2, 0),
        ("over the rate limit", "crm", "drop", 12, 2),
    ]
    assert state.counts.over_limit == 14
