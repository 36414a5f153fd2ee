"""The example processor: what the service answers becomes what Tidegate understands."""

import json
from collections.abc import Callable, Sequence
from http.client import BadStatusLine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server.flow.outages import is_outage
from server.flow.processor import load

ROOT = Path(__file__).parents[2]

Forward = Callable[[list[dict[str, Any]]], list[object]]


class Service:
    """Stands in for an HTTPConnection: gives these statuses, or raises these errors, one after the other."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.seen: list[tuple[dict[str, str], Any]] = []
        self.is_closed = False

    def __call__(self, address: str, timeout: float) -> "Service":
        return self

    def request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
        self.seen.append((headers, json.loads(body)))

    def getresponse(self) -> object:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(status=answer, read=lambda: b"")

    def close(self) -> None:
        self.is_closed = True


def events(*ids: str) -> list[dict[str, Any]]:
    return [{"inbound_event_id": each, "payload": {"total": 1}} for each in ids]


def forwarding(monkeypatch: pytest.MonkeyPatch, service: Service) -> Forward:
    """The processor as the server loads it, with this service behind it."""
    function: Forward = load("example_processor:forward", ROOT / "config")
    monkeypatch.setitem(function.__globals__, "HTTPConnection", service)
    return function


def run(monkeypatch: pytest.MonkeyPatch, ids: Sequence[str], service: Service) -> list[object]:
    try:
        return forwarding(monkeypatch, service)(events(*ids))
    finally:
        assert service.is_closed


def test_the_services_answer_is_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event is posted whole, with its id as the idempotency key, and its entry is JSON."""
    service = Service(200, 204)
    assert run(monkeypatch, ["a", "b\n/ä"], service) == [{"status": 200}, {"status": 204}]
    assert [headers["idempotency-key"] for headers, _ in service.seen] == ["a", "b%0A%2F%C3%A4"]
    assert [body for _, body in service.seen] == events("a", "b\n/ä")


def test_a_refused_event_takes_no_neighbour_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 4xx is that event's own failure; the others go on."""
    first, refused, last = run(monkeypatch, ["a", "b", "c"], Service(200, 422, 200))
    assert (first, last) == ({"status": 200}, {"status": 200})
    assert isinstance(refused, ValueError)
    assert not is_outage(refused)


@pytest.mark.parametrize("answer", [500, 503, 408, 425, 429, TimeoutError(), ConnectionRefusedError()])
def test_a_service_that_is_away_is_an_outage(monkeypatch: pytest.MonkeyPatch, answer: int | Exception) -> None:
    """Nothing is counted against an event while the service is away."""
    with pytest.raises(OSError) as caught:
        run(monkeypatch, ["a"], Service(answer))
    assert is_outage(caught.value)


def test_nonsense_from_the_service_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no HTTP says nothing about the event."""

    with pytest.raises(ConnectionError):
        run(monkeypatch, ["a"], Service(BadStatusLine("?")))
