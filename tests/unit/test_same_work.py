"""Who guesses at sources and tokens learns nothing from the time: a wrong guess is the same work, call by call."""

import sys
from typing import Any

import pytest

from server.http.frontend import Denial
from server.http.gate import Gate
from server.intake.headers import scan
from server.intake.intake import DeliveryHead
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


def calls_of(gate: Gate, source_id: str, authorization: bytes | None) -> list[str]:
    """The name of each function that is called while the gate refuses."""
    head = DeliveryHead(source_id, authorization, scan([]), 2, "127.0.0.1")
    calls: list[str] = []

    def note(frame: Any, event: str, called: Any) -> None:
        if event in ("call", "c_call"):
            calls.append(frame.f_code.co_qualname if event == "call" else called.__qualname__)

    sys.setprofile(note)
    try:
        found = gate.enter(head)
    finally:
        sys.setprofile(None)
    assert isinstance(found, Denial)
    assert (found.refusal.code, found.source_id) == ("unauthorized", "")
    return calls


@pytest.mark.parametrize("kind", AUTHORIZATIONS)
def test_a_wrong_guess_is_the_same_work(kind: str) -> None:
    """An unknown source takes the same calls as a known one of one token or of many, one that signs or was removed."""
    gate, authorization = make_gate(), AUTHORIZATIONS[kind]
    calls_of(gate, "unknown", authorization)  # the first one counts the tokens
    expected = calls_of(gate, "unknown", authorization)
    assert expected.count("compare_digest") == max(map(len, SOURCES.values()))
    for name in SOURCES:
        assert calls_of(gate, name, authorization) == expected
