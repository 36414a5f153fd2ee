"""Who guesses at sources and tokens learns nothing from the time: a wrong guess is the same work, call by call."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from server.base.refusal import UNAUTHORIZED
from server.http.frontend import Denial
from server.http.gate import Gate
from server.intake.headers import scan
from server.intake.intake import DeliveryHead
from server.intake.parse import Body
from server.intake.routes import SDK_ROUTES
from tests.support.guesses import SOURCES, make_gate

AUTHORIZATIONS = {
    "wrong token": b"Bearer wrong",
    "none": None,
    "empty": b"",
    "no token": b"Bearer ",
    "another scheme": b"Basic d3Jvbmc6d3Jvbmc=",
    "malformed": b"Bearer\xff\x00 a b c",
    "very long": b"Bearer " + b"x" * 16_000,
    "right for another": b"Bearer right",
}


def calls_of(ask: Callable[[], object]) -> tuple[list[str], object]:
    """The name of each function that is called while the gate refuses, and what it says."""
    calls: list[str] = []

    def note(frame: Any, event: str, called: Any) -> None:
        if event in ("call", "c_call"):
            calls.append(frame.f_code.co_qualname if event == "call" else called.__qualname__)

    sys.setprofile(note)
    try:
        found = ask()
    finally:
        sys.setprofile(None)
    return calls, found


def calls_of_head(gate: Gate, source_id: str, authorization: bytes | None, route: str = "") -> list[str]:
    head = DeliveryHead(source_id, authorization, scan([]), 2, "127.0.0.1", SDK_ROUTES.get(route))
    calls, found = calls_of(partial(gate.enter, head))
    assert isinstance(found, Denial)
    assert (found.refusal.code, found.source_id) == ("unauthorized", "")
    return calls


def calls_of_body(gate: Gate, source_id: str, body: object) -> list[str]:
    head = DeliveryHead(source_id, None, scan([]), 2, "127.0.0.1", SDK_ROUTES["/v1/batch"])
    calls, found = calls_of(partial(gate.known, head, Body(body, b""), 2))
    assert isinstance(found, Denial)
    assert found.refusal == UNAUTHORIZED
    return calls


@pytest.mark.parametrize(
    ("kind", "route"),
    [(kind, route) for kind in AUTHORIZATIONS for route in ("", "/v1/batch") if kind != "none" or not route],
)
def test_a_wrong_guess_is_the_same_work(kind: str, route: str) -> None:
    """An unknown source takes the same calls as a known one of one token or of many, one that signs or was removed."""
    gate, authorization = make_gate(), AUTHORIZATIONS[kind]
    calls_of_head(gate, "unknown", authorization, route)  # the first one counts the tokens
    expected = calls_of_head(gate, "unknown", authorization, route)
    assert expected.count("compare_digest") == max(map(len, SOURCES.values()))
    for name in SOURCES:
        assert calls_of_head(gate, name, authorization, route) == expected


@pytest.mark.parametrize(
    "body", [{"writeKey": "wrong"}, {"writeKey": None}, {"batch": [{"writeKey": "x"}]}, []], ids=str
)
def test_a_wrong_key_is_the_same_work(body: object) -> None:
    """So it is with keys in bodies, and where there is none."""
    gate = make_gate()
    calls_of_body(gate, "unknown", body)
    expected = calls_of_body(gate, "unknown", body)
    assert expected.count("compare_digest") == max(map(len, SOURCES.values()))
    for name in SOURCES:
        assert calls_of_body(gate, name, body) == expected
