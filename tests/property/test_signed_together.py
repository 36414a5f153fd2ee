"""Signed requests that arrive together are verified and read as each would be alone."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.base.refusal import Refusal
from server.base.source import Source, field_path
from server.intake.claims import Message
from server.intake.headers import scan
from server.intake.intake import DeliveryHead, IntakeLimits, claims_of, read
from server.intake.read_many import read_many
from server.intake.schemes import SCHEMES
from storage.deliveries import Deliveries, NumberedDeliveries

NOW_SECONDS = 1_790_000_000
LIMITS = IntakeLimits(body_bytes_max=65536, decoded_bytes_max=65536, json_containers_max=1000, batch_events_max=20)
SECRET, ANOTHER = b"c2VjcmV0", b"YW5vdGhlcg=="

ids = st.text(st.characters(codec="ascii", exclude_categories=["C"], exclude_characters=" "), min_size=1, max_size=8)
items = st.fixed_dictionaries(
    {},
    optional={
        "inbound_event_id": ids | st.integers(0, 9),
        "id": ids | st.none(),
        "event_id": ids,
        "type": st.sampled_from(["made", "url_verification", ""]),
        "event_type": st.just("made"),
        "event": st.sampled_from(["endpoint.url_validation", "made"]) | st.fixed_dictionaries({"type": ids}),
        "challenge": ids,
        "payload": st.fixed_dictionaries({"plainToken": ids}) | st.integers(0, 9),
    },
)
bodies = st.one_of(items, items, items, st.lists(items, max_size=3), st.just(7)).map(orjson.dumps)


@st.composite
def signed_requests(draw: st.DrawFn, name: str) -> Any:
    """A request of a scheme's sender: mostly right; else of another secret, too old, without its head, or changed."""
    scheme, body = SCHEMES[name], draw(bodies)
    fault = draw(st.sampled_from(["", "", "", "", "secret", "age", "head", "body"]))
    at = NOW_SECONDS - (301 if fault == "age" else 0)
    secret = ANOTHER if fault == "secret" else SECRET
    headers = scheme.sign(Message(body, scheme.key(secret), draw(ids), draw(ids), at))
    lines = [] if fault == "head" else [(key.lower().encode(), value.encode()) for key, value in headers.items()]
    lines += draw(
        st.lists(
            st.tuples(st.sampled_from([b"idempotency-key", b"x-a", *scheme.headers]), ids.map(str.encode)), max_size=1
        )
    )
    sent = body + b" " if fault == "body" else body
    return SimpleNamespace(head=DeliveryHead("s", None, scan(lines), len(sent), "127.0.0.1"), body=sent)


@pytest.mark.parametrize("name", SCHEMES)
@given(data=st.data())
def test_signed_requests_together_as_alone(name: str, data: st.DataObject) -> None:
    """Of requests that came together only those are taken whose signature is right, and each holds what it does
    alone: no wrong one gets in among others, and no vendor's question is kept."""
    scheme = SCHEMES[name]
    source = Source(
        "s",
        "webhook",
        (),
        signing_keys=(scheme.key(b"b3RoZXI="), scheme.key(SECRET)),
        signature=scheme.name,
        event_id_from=tuple(filter(None, map(field_path, scheme.event_id_from))),
        event_type_from=tuple(filter(None, map(field_path, scheme.event_type_from))),
    )
    requests = data.draw(st.lists(signed_requests(name), max_size=6))
    taken, found, left = read_many(source, requests, NOW_SECONDS * 1000, LIMITS)
    assert sorted(map(id, [*taken, *left])) == sorted(map(id, requests))
    for at, request in enumerate(taken):
        claims = claims_of(source, request.head.scanned, NOW_SECONDS * 1000)
        assert not isinstance(claims, Refusal)
        alone = read(source, request.head, request.body, NOW_SECONDS * 1000, LIMITS, claims=claims)
        assert isinstance(alone, Deliveries)
        assert found is not None
        assert _as_lists(NumberedDeliveries(1, "abcdef", found).part(at, at + 1).deliveries) == _as_lists(alone)


def test_plain_signed_requests_are_taken() -> None:
    """What nearly all signed senders send is not left to go alone."""
    body = b'{"inbound_event_id":"a","event_type":"made"}'
    for scheme in (each for each in SCHEMES.values() if each.secret is None):
        source = Source("s", "webhook", (), signing_keys=(scheme.key(SECRET),), signature=scheme.name)
        headers = scheme.sign(Message(body, scheme.key(SECRET), "id", "made", NOW_SECONDS))
        lines = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
        head = DeliveryHead("s", None, scan(lines), len(body), "127.0.0.1")
        request: Any = SimpleNamespace(head=head, body=body)
        assert read_many(source, [request, request], NOW_SECONDS * 1000, LIMITS)[0] == [request, request]
        stale = replace(source, signing_keys=(scheme.key(ANOTHER),))
        assert read_many(stale, [request], NOW_SECONDS * 1000, LIMITS) == ([], None, [request])


def test_bodies_with_a_secret_go_alone() -> None:
    """What holds its secret in its items is left, right or wrong: no signature has let it in."""
    scheme = SCHEMES["microsoft-graph"]
    source = Source("s", "webhook", (), signing_keys=(scheme.key(SECRET),), signature=scheme.name)
    for state in (SECRET, ANOTHER):
        body = b'{"inbound_event_id":"a","value":[{"clientState":"%b"}]}' % state
        request: Any = SimpleNamespace(head=DeliveryHead("s", None, scan([]), len(body), "127.0.0.1"), body=body)
        assert read_many(source, [request], NOW_SECONDS * 1000, LIMITS) == ([], None, [request])


def _as_lists(deliveries: Deliveries) -> list[object]:
    values = [getattr(deliveries, name) for name in Deliveries.__annotations__]
    return [list(each) if isinstance(each, tuple) else each for each in values]
