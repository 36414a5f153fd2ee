"""The log: lines that machines and people read, and that nobody can forge or flood."""

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from server import log
from server.flow.source_state import SourceState
from storage.model import Totals

Lines = Callable[[], list[Any]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """What was said, as parsed lines of JSON."""
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    log.configure()
    yield lambda: [json.loads(line) for line in said.getvalue().splitlines()]
    structlog.reset_defaults()


def test_a_line_is_json_and_begins_with_what_is_looked_for(lines: Lines) -> None:
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


def test_a_flood_is_one_line_a_second_for_each_reason(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next line says how many were left out."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    throttled = log.Throttled("tidegate.http", "refused")
    for _ in range(5):
        throttled.warn("unauthorized", code="unauthorized")
    throttled.warn("timeout", code="timeout")
    now += log.THROTTLE_SECONDS
    throttled.warn("unauthorized", code="unauthorized")
    assert [(line["code"], line["more_since_last_line"]) for line in lines()] == [
        ("unauthorized", 0),
        ("timeout", 0),
        ("unauthorized", 4),
    ]


def test_a_failing_processor_is_heard_of(lines: Lines) -> None:
    """The line names the source and the kind of error, never its words, which may hold a payload."""
    state = SourceState("crm", Totals())
    state.processor_failed(["ValueError: card 4111 refused", "ValueError: another"])
    state.processor_failed(["ConnectionError: away"], outage=True)
    assert state.counts.processor_failures == 3
    assert state.last_error == "ConnectionError: away"
    [line] = lines()
    assert (line["event"], line["source"], line["kind"], line["outage"]) == (
        "processor failed",
        "crm",
        "ValueError",
        False,
    )
