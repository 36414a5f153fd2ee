"""Heads with a shape: taken the short way, and found to be what the long way finds, byte by byte."""

import itertools
import random
import tracemalloc
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from server.base.refusal import Refusal
from server.http.fast.head_cache import HeadCache
from server.http.fast.head_templates import (
    LEARN_EVERY,
    PIECES_MAX,
    TEMPLATE_BYTES_MAX,
    TEMPLATE_LINES_MAX,
    TEMPLATES_MAX,
)
from server.http.fast.ingest_head import IngestHead, OtherRequest
from server.http.head import HEAD, VALUE, RequestHead, complete_head

TRUSTED = [ip_network("10.0.0.0/8")]
PEER = "10.0.0.1"
BOUNDS = (TEMPLATES_MAX, PIECES_MAX, PIECES_MAX)
ENOUGH = 4 * LEARN_EVERY
"""Heads of a sender until its shape is known."""

EXTRAS = (
    b"traceparent: 00-%032x-01",
    b"X-Hub-Signature-256:sha256=%064x",
    b"X-Convertmax-Signature: %064x",
    b"X-GitHub-Delivery: %x\r\nIdempotency-Key: %x",
    b"webhook-id: m%x\r\nUser-Agent: curl/%x",
    b"X-Forwarded-For: 1.2.3.%d",
    b"Content-Encoding: gzip\r\nX-A: %d",
    b"Connection: close\r\nAccept: %d",
    b"Connection: keep-alive\r\nExpect: 100-continue\r\nX-Note: \t\xe9\xff %d ",
)


def head_of(number: int, extra: bytes, length: bytes = b"Content-Length: %d") -> bytes:
    lines = b"POST /ingest/inbound/demo HTTP/1.1\r\nHost: gate\r\n%b\r\nAuthorization: Bearer t\r\n%b\r\n\r\n"
    line = extra % ((number,) * extra.count(b"%"))
    return lines % (line, length % number if b"%" in length else length)


def taught(extra: bytes, length: bytes = b"Content-Length: %d") -> HeadCache:
    """Heads that know the shape of these."""
    heads = HeadCache(TRUSTED)
    for number in range(1000, 1000 + ENOUGH):
        heads.read(PEER, head_of(number, extra, length))
    return heads


def seen(found: IngestHead | Refusal | OtherRequest | None) -> object:
    """All that there is to say of it, the order of kept headers included."""
    if not isinstance(found, IngestHead):
        return found
    head, scanned = found.head, found.head.scanned
    scanned = scanned._replace(lines=[line for line in scanned.lines if line[0] != b"content-length"])
    return (
        (head.source_id, head.authorization, head.content_length, head.remote_addr),
        (scanned, list(scanned.kept)),
        (found.is_last, found.expects_continue),
    )


def long_way(raw: bytes) -> object:
    return seen(HeadCache(TRUSTED).read(PEER, raw))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The heads that go the long way."""
    found: list[bytes] = []

    def noted(buffer: bytes | bytearray) -> RequestHead | Refusal | None:
        found.append(bytes(buffer))
        return complete_head(buffer)

    monkeypatch.setattr("server.http.fast.head_cache.complete_head", noted)
    return found


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("length", [b"Content-Length: %d", b"Transfer-Encoding: chunked", b"X-No: length"])
def test_a_varying_head_goes_the_short_way(extra: bytes, length: bytes, parsed: list[bytes]) -> None:
    """Once its sender is known, whatever varies in it; and says the same, of another peer too."""
    heads = taught(extra, length)
    for number in (7, 88, 10**6):
        for peer in (PEER, "192.0.2.7"):
            raw = head_of(number, extra, length)
            parsed.clear()
            found = seen(heads.read(peer, raw))
            assert parsed == []
            assert found == seen(HeadCache(TRUSTED).read(peer, raw))


def edits(raw: bytes, rng: random.Random) -> Iterator[bytes]:
    """The head with a byte more, less, or another, everywhere; with lines twice, missing, or elsewhere."""
    for at in range(len(raw) - 4):
        for byte in (b"\0", b"\n", b"\r", b"\r\n", b"\t", b" ", b":", b",", b"0", b"a", b"\x7f", b"\x80"):
            yield raw[:at] + byte + raw[at:]
            yield raw[:at] + byte + raw[at + 1 :]
        yield raw[:at] + raw[at + 1 :]
    lines = raw.split(b"\r\n")[:-2]
    for _ in range(200):
        count = rng.randint(1, len(lines) + 2)
        mixed = [*lines[:1], *rng.choices(lines, k=count)] if rng.random() < 0.5 else rng.sample(lines, len(lines))
        yield b"\r\n".join([*mixed, b"", b""])


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("extra", EXTRAS)
def test_the_short_and_long_ways_agree(extra: bytes, learns: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every edit of a known sender's head: the same delivery, or the same refusal; also with shapes of edits."""
    heads = taught(extra)
    if not learns:
        monkeypatch.setattr(heads._templates, "learn", lambda *_, **__: None)
    raws = edits(head_of(4321, extra), random.Random(1))
    digits = (head_of(10**count, extra) for count in range(17, 24))
    for raw in itertools.chain(raws, digits):
        cut = raw[: raw.index(b"\r\n\r\n") + 4]
        assert seen(heads.read(PEER, cut)) == long_way(cut), cut


@pytest.mark.parametrize(
    "line",
    [
        b"Host: #",
        b"Host: a\r\nAuthorization: #",
        b"Host: a\r\nConnection: #",
        b"Host: a\r\nContent-Type: #",
        b"Host: a\r\nContent-Encoding: #",
        b"Host: a\r\nExpect: #",
        b"Host: a\r\nTransfer-Encoding:~chunked",
        b"Host: a\r\nX-A: 1\r\nX-a: #",
    ],
)
def test_what_decides_has_no_short_way(line: bytes, parsed: list[bytes]) -> None:
    """A new value where one decides how the request is read, and names that come twice, are parsed each time."""
    heads = HeadCache(())
    for number in range(ENOUGH):
        written = line.replace(b"#", b"%d" % number).replace(b"~", b" " * number)
        heads.read(PEER, b"POST /ingest/inbound/demo HTTP/1.1\r\n" + written + b"\r\n\r\n")
    assert len(parsed) == ENOUGH


def test_names_that_never_come_again_change_no_shape(parsed: list[bytes]) -> None:
    """A flood of them leaves a sender known whose heads have a line of that place."""
    heads = taught(b"traceparent: %d")
    for number in range(ENOUGH):
        heads.read(PEER, head_of(number, b"X-%d: %d"))
    parsed.clear()
    assert isinstance(heads.read(PEER, head_of(1, b"traceparent: %d")), IngestHead)
    assert parsed == []


def test_a_large_head_has_no_short_way(parsed: list[bytes]) -> None:
    """Of many lines, or of many bytes: so no limit on a head or its kept headers is passed by."""
    long, many = HeadCache(()), HeadCache(())
    for number in range(ENOUGH):
        long.read(PEER, head_of(number, b"X-A: " + b"a" * TEMPLATE_BYTES_MAX + b"%d"))
        many.read(PEER, head_of(number, b"\r\n".join(b"X-%d: %%d" % each for each in range(TEMPLATE_LINES_MAX))))
    assert len(parsed) == 2 * ENOUGH
    heads = taught(b"X-A: %d")
    parsed.clear()
    raw = head_of(1, b"X-A: " + b"a" * TEMPLATE_BYTES_MAX + b"%d")
    assert seen(heads.read(PEER, raw)) == long_way(raw)
    assert parsed == [raw, raw]


def test_only_heads_that_may_come_again_are_remembered() -> None:
    """A head with a trace of its own pushes no other out; one that differs in its length is kept."""
    heads = taught(b"traceparent: %d")
    count = len(heads)
    for number in range(50):
        heads.read(PEER, head_of(number, b"traceparent: %d"))
    assert len(heads) == count
    heads = taught(b"X-A: same")
    raw = head_of(5, b"X-A: same")
    assert heads.read(PEER, raw) is heads.read(PEER, raw)


def test_values_are_of_the_bytes_that_may_come() -> None:
    """Tab, space, what is visible, and what is beyond ASCII; no other control character."""
    may = [byte for byte in range(256) if HEAD.fullmatch(b"GET / HTTP/1.1\r\nA:%b\r\n\r\n" % bytes([byte]))]
    assert may == [9, *range(32, 127), *range(128, 256)]
    assert VALUE in HEAD.pattern


@pytest.mark.parametrize(
    ("full", "senders", "lines", "times"), [(0, 2 * TEMPLATES_MAX, 1, 3), (1, 800, 20, 1), (2, 250, 20, 3)]
)
def test_what_is_remembered_is_bounded(full: int, senders: int, lines: int, times: int) -> None:
    """In entries and in bytes: shapes, lines that came once, lines that came again; each of them once full here."""
    heads = HeadCache(())
    counts = []
    tracemalloc.start()
    for sender in range(senders):
        extra = b"\r\n".join(b"X-%d-%d: %b" % (sender, line, b"v" * 50) for line in range(lines))
        for number in range(times * LEARN_EVERY):
            heads.read(PEER, head_of(number, extra + b"\r\nX-A: %d", b"Content-Length: 1%d"))
        counts.append(heads._templates.counts)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    most = [max(column) for column in zip(*counts, strict=True)]
    assert all(count <= bound for count, bound in zip(most, BOUNDS, strict=True))
    assert most[full] > 0.9 * BOUNDS[full]
    assert held < 6e6
