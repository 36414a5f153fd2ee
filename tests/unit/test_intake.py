"""The policy of intake: the order of the checks, the rate limit's three modes, the answer's four numbers."""

import gzip
import hmac
from typing import Any

import orjson
import pytest

from server.base.refusal import UNAUTHORIZED, Refusal
from server.base.source import OverLimit, Source
from server.intake.handshakes import Handshake
from server.intake.headers import scan
from server.intake.intake import Admission, DeliveryHead, IntakeLimits, admit, answer_body, read
from server.intake.parse import BODY_DEPTH_MAX
from server.intake.rate_limit import Gcra
from server.intake.signatures import claims_of
from storage.deliveries import Deliveries
from storage.statuses import EventStatus

LIMITS = IntakeLimits(body_bytes_max=1 << 20, decoded_bytes_max=4096, json_containers_max=600, batch_events_max=20)
NOW_NS = 10**15


def webhook(over_limit: OverLimit = "defer", rate: float = 0, secrets: tuple[bytes, ...] = ()) -> Source:
    return Source("s", "webhook", (), secrets, secrets, rate_limit_events_per_second=rate, over_limit=over_limit)


def take(source: Source, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> Deliveries | Refusal:
    head = DeliveryHead("s", None, scan(headers or []), len(body), "127.0.0.1")
    claims = claims_of(source, head.scanned, 1) if source.signing_keys else ()
    if isinstance(claims, Refusal):
        return claims
    found = read(source, head, body, 1, LIMITS, claims=claims)
    assert not isinstance(found, Handshake)
    return found


def reading(count: int) -> Deliveries:
    found = take(webhook(), orjson.dumps([{"inbound_event_id": str(index)} for index in range(count)]))
    assert isinstance(found, Deliveries)
    return found


def code(result: Deliveries | Refusal) -> str:
    return result.code if isinstance(result, Refusal) else "read"


def test_order_of_the_checks() -> None:
    """Signature, encoding, size, JSON, event: with everything wrong, the first of them is named."""
    source = webhook(secrets=(b"k",))
    body = b"[" * 5000
    assert take(source, body, [(b"content-encoding", b"br")]) == UNAUTHORIZED
    signed = [(b"x-convertmax-signature", hmac.digest(b"k", body, "sha256").hex().encode())]
    assert code(take(source, body, [*signed, (b"content-encoding", b"br")])) == "unsupported_encoding"
    assert code(take(source, body, [*signed, (b"content-encoding", b"gzip")])) == "invalid_encoding"
    assert code(take(source, body, signed)) == "too_large"
    assert code(take(webhook(), b"[" * 601)) == "too_large"
    assert code(take(webhook(), b"[" * 600)) == "invalid_json"
    assert code(take(webhook(), b"[1]")) == "invalid_event"


def test_signature_is_over_the_body_as_received() -> None:
    """What is signed is the compressed body; a second signature header makes both worthless."""
    body = gzip.compress(b"{}")
    header = (b"x-convertmax-signature", hmac.digest(b"k", body, "sha256").hex().encode())
    encoding = (b"content-encoding", b"gzip")
    source = webhook(secrets=(b"old", b"k"))
    assert code(take(source, body, [header, encoding])) == "read"
    assert code(take(source, b"{}", [header])) == "unauthorized"
    assert code(take(source, body, [encoding])) == "unauthorized"
    assert code(take(source, body, [header, header, encoding])) == "unauthorized"
    assert code(take(webhook(), body, [(header[0], b"junk"), encoding])) == "read"


def test_signature_comes_before_any_repair() -> None:
    """What is signed is the body with its byte order mark and its halves of pairs, also inside a compressed one."""
    body = b'\xef\xbb\xbf{"a":"\\ud83d"}'
    encoding = (b"content-encoding", b"gzip")
    for sent, headers in ((body, []), (gzip.compress(body), [encoding])):
        header = (b"x-convertmax-signature", hmac.digest(b"k", sent, "sha256").hex().encode())
        found = take(webhook(secrets=(b"k",)), sent, [header, *headers])
        assert isinstance(found, Deliveries)
        assert found.bodies == [b'{"a":"\\ufffd"}']


def test_reading_holds_the_decoded_body() -> None:
    """What is archived is the body as decoded, byte for byte, not as JSON writes it again."""
    body = b' {"a" : 1e2, "a":\t"\\u00e9"} '
    found = take(webhook(), gzip.compress(body), [(b"content-encoding", b"gzip")])
    assert isinstance(found, Deliveries)
    assert found.bodies == [body]


def test_two_content_encodings_are_stacked() -> None:
    """Two header lines are one list, and two encodings in it are not supported; one beside `utf-8` is."""
    encoding = (b"content-encoding", b"gzip")
    assert code(take(webhook(), gzip.compress(b"{}"), [encoding, (b"content-encoding", b"UTF-8")])) == "read"
    assert code(take(webhook(), gzip.compress(b"{}"), [encoding, encoding])) == "unsupported_encoding"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf" * 2 + b"{}",
        b" \xef\xbb\xbf{}",
        b"a=1&b=2",
        b"{",
        b"\xff",
        "{}".encode("utf-16"),
        b'"\xed\xa0\x80"',
        b'{"a":"\\ud800"',
        b'"\0\0\\ud800"',
        b'"\\ud80g"',
        b"NaN",
        b"[1e999]",
        b"[18" + b"0" * 307 + b"]",
    ],
)
def test_what_is_not_json_is_named(body: bytes) -> None:
    """What is no JSON is named so, and as a media type where it came as a form."""
    assert code(take(webhook(), body)) == "invalid_json"
    assert code(take(webhook(), body, [(b"content-type", b"text/plain")])) == "invalid_json"
    for form in (b"application/x-www-form-urlencoded", b"Multipart/form-data; boundary=x"):
        found = take(webhook(), body, [(b"content-type", form)])
        assert code(found) == "unsupported_media_type"
        assert isinstance(found, Refusal)
        assert "choose application/json as the content type at the sender" in found.message


def test_no_json_says_why() -> None:
    """The message has the place of the mistake, also for what came as a form; or says that the body is empty."""
    form = [(b"content-type", b"application/x-www-form-urlencoded")]
    for headers in (list[tuple[bytes, bytes]](), form):
        mistake, empty = take(webhook(), b'{"a":1,}', headers), take(webhook(), b"", headers)
        assert isinstance(mistake, Refusal)
        assert isinstance(empty, Refusal)
        assert "at byte 6: trailing comma is not allowed" in mistake.message
        assert ("the body is empty" in empty.message, "JSON at" in empty.message) == (True, False)


@pytest.mark.parametrize("content_type", [b"application/x-www-form-urlencoded", b"text/plain", b"\xff", b""])
def test_content_type_of_json_is_not_looked_at(content_type: bytes) -> None:
    """A body that is JSON is read, whatever its Content-Type says."""
    assert code(take(webhook(), b"{}", [(b"content-type", content_type)])) == "read"


def test_arrays_and_objects_are_limited() -> None:
    """Exactly the limit of arrays and objects is read, one more is too large; brackets in strings count."""
    assert code(take(webhook(), b'{"a":[' + b"[],{}," * 299 + b"1]}")) == "read"
    assert code(take(webhook(), b'{"a":[' + b"[],{}," * 299 + b"[]]}")) == "too_large"
    assert code(take(webhook(), b'{"a":"' + b"[" * 600 + b'"}')) == "too_large"


@pytest.mark.parametrize(("left", "right"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_what_cannot_be_printed_is_refused(left: bytes, right: bytes) -> None:
    """What could be read and never be printed again is refused; the deepest that passes can be wrapped and printed."""
    for depth in (BODY_DEPTH_MAX, BODY_DEPTH_MAX + 1):
        inner = depth - 1
        body = b'{"payload":' + left * inner + b"1" + right * inner + b"}"
        found = take(webhook(), body)
        assert code(found) == ("read" if depth == BODY_DEPTH_MAX else "invalid_json")
    assert code(take(webhook(), left * 590 + b"1" + right * 590)) == "invalid_json"


def test_size_limits_are_exact() -> None:
    """Exactly decoded_bytes_max bytes are read, one more is too large."""
    assert code(take(webhook(), b"{}" + b" " * 4094)) == "read"
    assert code(take(webhook(), b"{}" + b" " * 4095)) == "too_large"


MODES: list[OverLimit] = ["defer", "drop", "observe"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("deferring", [False, True])
def test_no_limit_admits_all(mode: OverLimit, deferring: bool) -> None:
    """Without a limit everything is admitted, also while something deferred earlier is on its way out."""
    found = admit(reading(5), webhook(mode), Gcra(0), deferring, NOW_NS)
    assert (found.admitted, found.over_limit) == (5, 0)
    assert found.deliveries.size


@pytest.mark.parametrize(
    ("mode", "admitted", "rest", "over"),
    [("defer", 3, EventStatus.DEFERRED, 2), ("drop", 3, EventStatus.DROPPED, 2), ("observe", 5, None, 2)],
)
def test_first_items_that_fit(mode: OverLimit, admitted: int, rest: EventStatus | None, over: int) -> None:
    """Of five items three fit: the rest is deferred, dropped, or admitted and counted."""
    found = admit(reading(5), webhook(mode, 3), Gcra(3), False, NOW_NS)
    assert (found.admitted, found.over_limit) == (admitted, over)
    assert rest is None or found.rest is rest
    assert found.deliveries.size


@pytest.mark.parametrize(("mode", "rest"), [("defer", EventStatus.DEFERRED), ("drop", EventStatus.DROPPED)])
def test_deferring_leaves_the_tokens_alone(mode: OverLimit, rest: EventStatus) -> None:
    """While anything is deferred nothing new passes it, and the tokens stay for the oldest."""
    limiter = Gcra(3)
    found = admit(reading(2), webhook(mode, 3), limiter, True, NOW_NS)
    assert (found.admitted, found.rest, found.over_limit) == (0, rest, 2)
    assert limiter.admit(5, NOW_NS) == 3


def test_observe_admits_before_what_waits() -> None:
    """`observe` admits what comes, whatever waits from before, and charges for it."""
    limiter = Gcra(3)
    found = admit(reading(2), webhook("observe", 3), limiter, True, NOW_NS)
    assert (found.admitted, found.over_limit) == (2, 0)
    assert limiter.admit(5, NOW_NS) == 1


def test_body_kept_only_where_needed() -> None:
    """`drop` keeps no body where nothing was admitted; deferred events always keep theirs."""
    empty = Gcra(1, 1)
    empty.admit(1, NOW_NS)
    assert admit(reading(2), webhook("drop", 1), empty, False, NOW_NS).deliveries.bodies == [b""]
    assert admit(reading(2), webhook("drop", 1), Gcra(1), False, NOW_NS).deliveries.size
    assert admit(reading(2), webhook("defer", 1), empty, False, NOW_NS).deliveries.size


def said(source: Source, admission: Admission) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(answer_body(source, admission, "d-1"))
    return found


@pytest.mark.parametrize(("mode", "numbers"), [("defer", (3, 2, 0)), ("drop", (3, 0, 2)), ("observe", (5, 0, 0))])
def test_the_answer_counts_the_items(mode: OverLimit, numbers: tuple[int, int, int]) -> None:
    """Accepted, deferred and dropped say what the rate limit made of the items."""
    source = webhook(mode, 3)
    found = said(source, admit(reading(5), source, Gcra(3), False, NOW_NS))
    accepted, deferred, dropped = numbers
    assert list(found.items()) == [
        ("status", "accepted"),
        ("accepted", accepted),
        ("deferred", deferred),
        ("dropped", dropped),
        ("rejected", []),
        ("delivery", "d-1"),
    ]


def test_answer_rejected_and_success() -> None:
    """Rejected items are named by place and reason; a segment source's answer says success too."""
    source = Source("s", "segment", ())
    found = take(source, b'{"batch":[{"type":"page"},{"type":"x"},5]}')
    assert isinstance(found, Deliveries)
    spoken = said(source, admit(found, source, Gcra(0), False, NOW_NS))
    assert spoken["accepted"] == 1
    assert [(one["index"], one["code"], list(one)) for one in spoken["rejected"]] == [
        (1, "invalid_event", ["index", "code", "message"]),
        (2, "invalid_event", ["index", "code", "message"]),
    ]
    assert spoken["success"] is True
    assert list(spoken)[-1] == "success"
