"""The fast lane's protocol, without a socket."""

from server.base.refusal import Refusal, refuse
from server.http.fast.head_cache import HEADS_MAX, HeadCache
from server.http.fast.ingest_head import OTHER_REQUEST, IngestHead
from server.http.fast.protocol import IngestProtocol
from server.http.frontend import BROKEN_BODY

LINES = b"Host: gate\r\nAuthorization: Bearer t\r\n"
START = b"POST /ingest/inbound/demo?q=1 HTTP/1.1\r\n" + LINES
FULL = refuse("overloaded", "full")


def protocol(data: bytes) -> IngestProtocol:
    made = IngestProtocol(HeadCache(()), "192.0.2.7")
    made.receive(data)
    return made


def yes(_count: int) -> None:
    """Every piece may come."""


def test_a_whole_request_comes_out() -> None:
    """Head and body come out, and what follows stays."""
    made = protocol(START + b"Content-Length: 2\r\n\r\n{}POST")
    found = made.next_head()
    assert isinstance(found, IngestHead)
    assert (found.head.source_id, found.head.authorization) == ("demo", b"Bearer t")
    assert (found.head.content_length, found.head.remote_addr) == (2, "192.0.2.7")
    assert made.next_body(yes) == b"{}"
    assert made.buffer == b"POST"
    assert made.next_head() is None


def test_a_request_byte_by_byte() -> None:
    """No beginning of it is anything but incomplete."""
    data = START + b"Content-Length: 2\r\n\r\n{}"
    made = IngestProtocol(HeadCache(()), "::1")
    for byte in data[:-3]:
        made.receive(bytes([byte]))
        assert made.next_head() is None
    made.receive(data[-3:-2])
    assert isinstance(made.next_head(), IngestHead)
    assert made.next_body(yes) is None
    made.receive(b"{")
    assert made.next_body(yes) is None
    made.receive(b"}")
    assert made.next_body(yes) == b"{}"


def test_anything_else_is_elsewhere_at_its_first_byte() -> None:
    """Other methods, routes, versions; the bytes stay for whoever serves them."""
    for data in (b"G", b"PUT", b"POST /x", b"\r\n", b"\x16"):
        made = protocol(data)
        assert made.next_head() is OTHER_REQUEST
        assert made.buffer == data
    for first in (b"/ingest/inbound/a/b HTTP/1.1", b"/ingest/inbound/ HTTP/1.1", b"/ingest/inbound/a HTTP/1.0"):
        made = protocol(b"POST " + first + b"\r\n" + LINES + b"\r\n")
        assert made.next_head() is OTHER_REQUEST
        assert made.buffer.startswith(b"POST ")


def test_a_malformed_head_is_refused_here_as_there() -> None:
    """The same check, the same words."""
    found = protocol(b"POST /ingest/inbound/demo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").next_head()
    assert isinstance(found, Refusal)
    assert found.code == "invalid_request"


def test_a_body_is_counted_as_it_comes() -> None:
    """`grow` hears of every piece and ends the body with a refusal."""
    made = protocol(START + b"Content-Length: 6\r\n\r\nab")
    counts: list[int] = []

    def grow(count: int) -> Refusal | None:
        counts.append(count)
        return FULL if sum(counts) > 4 else None

    made.next_head()
    assert made.next_body(grow) is None
    made.receive(b"cdef")
    assert made.next_body(grow) is FULL
    assert counts == [2, 4]


def test_malformed_chunks_are_a_broken_body() -> None:
    """As in the complete front end."""
    made = protocol(START + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert isinstance(made.next_head(), IngestHead)
    assert made.next_body(yes) is BROKEN_BODY


def test_a_repeated_head_is_the_same_object() -> None:
    """For the same peer; what was found out about it is found out once."""
    heads = HeadCache(())
    raw = START + b"Content-Length: 2\r\n\r\n"
    assert heads.read("192.0.2.7", raw) is heads.read("192.0.2.7", raw)
    assert heads.read("192.0.2.8", raw) is not heads.read("192.0.2.7", raw)


def test_heads_are_remembered_within_bounds() -> None:
    """Varying heads push out the older half, never a refusal is kept."""
    heads = HeadCache(())
    for number in range(3 * HEADS_MAX):
        heads.read("192.0.2.7", START + b"X: %d\r\nContent-Length: 2\r\n\r\n" % number)
        heads.read("192.0.2.7", START + b"Host: %d\r\n\r\n" % number)
    assert len(heads) <= 2 * HEADS_MAX
    assert all(isinstance(found, IngestHead) for found in heads)
