"""Ids made from content: equal items have one, different items have two, and what hashed before hashes as before."""

import hashlib
from dataclasses import dataclass

import orjson
import pytest

from server.base.source import Source
from server.intake.headers import scan
from server.intake.intake import DeliveryHead, IntakeLimits, read
from server.intake.read_many import read_many
from storage.deliveries import Deliveries

LIMITS = IntakeLimits(body_bytes_max=1 << 20, decoded_bytes_max=1 << 20, json_containers_max=1000, batch_events_max=100)
WEBHOOK = Source("hooks", "webhook", (), missing_event_id="hash")
SEGMENT = Source("seg", "segment", (), missing_event_id="hash")


@dataclass
class Sent:
    """A request that came whole."""

    head: DeliveryHead
    body: bytes


def ids(body: bytes, source: Source = WEBHOOK) -> list[str | None]:
    found = read(source, DeliveryHead(source.id, None, scan([]), None, "::1"), body, 1, LIMITS)
    assert isinstance(found, Deliveries), found
    return list(found.ids)


def hash_of(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def test_ordinary_items_hash_as_before() -> None:
    """The hash of an item with numbers as orjson writes them and no repeated key is that of its sorted JSON."""
    item = {"é\U0001f600": [1, 2.5, -0.0, 1e300, None, True, {}, []], "b": {"z": '"\\\n\x7f', "a": ""}, "Z": 2**64 - 1}
    expected = hashlib.blake2b(orjson.dumps(item, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
    assert ids(orjson.dumps(item, option=orjson.OPT_INDENT_2)) == [expected]
    assert ids(b"[1e2," + orjson.dumps(item) + b"]") == [expected]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (rb'{"a":12345678901234567890.1}', rb'{"a":12345678901234567890.2}'),
        (rb'{"a":0.10000000000000000001}', rb'{"a":0.10000000000000000002}'),
        (rb'{"a":18446744073709551616}', rb'{"a":18446744073709551617}'),
        (rb'{"a":1.0}', rb'{"a":1.00}'),
        (rb'{"a":1e2}', rb'{"a":100.0}'),
        (rb'{"a":1e2}', rb'{"a":1E2}'),
        (rb'{"a":-0}', rb'{"a":0}'),
        (rb'{"a":1,"a":2}', rb'{"a":2}'),
        (rb'{"a":1,"a":2}', rb'{"a":2,"a":1}'),
        (rb'{"x":[{"a":1,"a":1}]}', rb'{"x":[{"a":1}]}'),
        (rb'{"a":"\ud83d"}', rb'{"a":"\ufffd"}'),
        (rb'{"a":"\ud83d"}', rb'{"a":"\ud83e"}'),
        (rb'{"\ud83d":1}', rb'{"\ude00":1}'),
        (rb'{"a":"1.00"}', rb'{"a":1.00}'),
    ],
)
def test_different_items_have_different_ids(left: bytes, right: bytes) -> None:
    """Items that differ in a digit, in how a number is written, in a repeated key or in a cut half are not equal."""
    assert ids(left) != ids(right)
    assert len(set(ids(b"[%b,%b]" % (left, right)))) == 2
    assert ids(b"[%b,%b]" % (left, right)) == [*ids(left), *ids(right)]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (rb'{"a":1.00,"b":"\u00e9\/"}', '{ "b" : "é/",\r\n\t"a" : 1.00 }'.encode()),
        (rb'{"a":"\uD83D","b":{"y":1,"x":2}}', rb'{"b":{"x":2,"y":1},"a":"\ud83d"}'),
        (rb'{"b":1,"a":2,"a":3}', rb'{"a":2,"b":1,"a":3}'),
        (rb'{"\uffff":1.50,"\ud83d\ude00":2}', '{"\U0001f600":2,"\uffff":1.50}'.encode()),
    ],
)
def test_equal_items_have_one_id(left: bytes, right: bytes) -> None:
    """White space, the order of keys and the way in which a string is escaped make no difference."""
    assert ids(left) == ids(right)


def test_the_canonical_text_is_documented() -> None:
    """Sorted keys, decoded strings, numbers as written, repeated keys in their order, no white space."""
    assert ids(rb'{"b": [1.50, {}], "a": null, "b": "\u00e9"}') == [hash_of('{"a":null,"b":[1.50,{}],"b":"é"}')]


def test_segment_items_hash_without_their_batch() -> None:
    """The items of the last `batch` are hashed as they came, before the batch fills in."""
    item = b'{"type":"page","n":1.00}'
    body = b'{"batch":[{"type":"page"}],"context":{"ip":"::1"},"batch":[{"type":"x"},%b]}' % item
    assert ids(body, SEGMENT) == ids(item, SEGMENT) == [hash_of('{"n":1.00,"type":"page"}')]


def test_hashes_are_alike_read_together() -> None:
    """An item that is read together with others has the id that it has alone."""
    bodies = [b'{"a":1.00}', b'{"a":1.0}', b'{"a":1,"a":1}']
    requests = [Sent(DeliveryHead("hooks", None, scan([]), len(body), "::1"), body) for body in bodies]
    _, found, left = read_many(WEBHOOK, requests, 1, LIMITS)
    assert left == []
    assert found is not None
    assert found.ids == [event_id for body in bodies for event_id in ids(body)]
