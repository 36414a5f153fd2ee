"""JSON texts that parsers disagree about: each has one answer here, as a payload and as a body of its own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from server.base.refusal import Refusal
from server.base.source import Source
from server.intake.headers import scan
from server.intake.intake import DeliveryHead, IntakeLimits, read
from tests.support.client import Session
from tests.support.config import source
from tests.support.server import Children

PATH = Path(__file__).parents[2] / "data" / "json-cases.jsonl"
LIMITS = IntakeLimits(2**20, 2**22, 200_000, 2500)


def cases() -> Iterator[tuple[dict[str, Any], bytes]]:
    """Each case, and its text."""
    for line in PATH.read_text().splitlines()[1:]:
        case = json.loads(line)
        yield case, case["text"].encode("latin-1") * case.get("times", 1)


def answered(session: Session, source_id: str, body: bytes) -> str:
    answer = session.post(source_id, body)
    return str(answer.json["status" if answer.status == 200 else "code"])


def test_each_text_has_its_answer(children: Children) -> None:
    """What JSON's grammar allows is taken, what it forbids is refused, and what it leaves open has one answer too."""
    child = children(source("demo"))
    child.start()
    with child.session() as session:
        for case, text in cases():
            inside = b'{"inbound_event_id":%b,"payload":%b}' % (json.dumps(case["name"]).encode(), text)
            said = case["name"], answered(session, "demo", inside), answered(session, "demo", text)
            assert said == (case["name"], case["inside"], case["bare"])
    with Session(child.admin_port) as session:
        for name in [case["name"] for case, _ in cases() if case["inside"] == "accepted"]:
            kept = session.ask("GET", f"/events/demo?event_id={quote(name)}", None, {})
            assert (name, kept.status, kept.json["inbound_event_id"]) == (name, 200, name)
    assert child.errors == []


def test_grammar_decides_where_it_speaks() -> None:
    """Texts named y_ are JSON and texts named n_ are none, whatever this server would rather have."""
    for case, _ in cases():
        assert case["inside"] == {"y": "accepted", "n": "invalid_json"}.get(case["name"].split("_")[0], case["inside"])


def test_a_segment_source_reads_alike() -> None:
    """A text has the same answer within an event of Segment's."""
    segment = Source("app", "segment", ())
    head = DeliveryHead("app", None, scan([]), None, "127.0.0.1")
    for case, text in cases():
        found = read(segment, head, b'{"type":"track","messageId":"m","properties":%b}' % text, 0, LIMITS)
        said = found.code if isinstance(found, Refusal) else "accepted"
        assert (case["name"], said) == (case["name"], case["inside"])
