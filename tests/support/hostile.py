"""Requests as an attacker would write them: a grammar of deliveries in which every part may be wrong, for Hypothesis.

All of a request is right but for a part or two, so that what is wrong is met where it would be met: a bad chunk size
behind a good head, a bomb behind a good token.
"""

import gzip
import itertools
import zlib
from collections.abc import Sequence

import zstandard
from hypothesis import strategies as st

from tests.support.config import TOKEN

NUMBERS = [
    b"0",
    b"1",
    b"-1",
    b"+2",
    b"00000000000000000002",
    b"2_0",
    b"0x2",
    b"2, 2",
    b"\xd9\xa2",
    b" 2 ",
    b"2\t",
    b"1e1",
    b"2.0",
    b"",
    b"4294967298",
    b"18446744073709551618",
    b"99999999999999999999999",
    b"9" * 5000,
]
"""Where a length is due."""

LINES = [
    b"Content-Length: 2",
    b"content-length : 2",
    b"Content-Length",
    b" Content-Length: 2",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding:",
    b"TE: trailers, deflate;q=0.5",
    b"Expect: 100-continue",
    b"Expect: 200-ok",
    b"Connection: close",
    b"Connection: keep-alive, Upgrade, HTTP2-Settings",
    b"Upgrade: h2c",
    b"Upgrade: websocket",
    b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    b"Host: again",
    b"Host: a@b",
    b"X-Forwarded-For: \xff, ::1, [",
    b"X-A: \x1b[2J\xe2\x80\xae",
    b"X-A: a\x00b",
    b"X-A: a\rb",
    b"X-A: a\nb",
    b"X\x7f: a",
    b": a",
    b"\tfolded",
    b"X-Long: " + b"y" * 9000,
    b"webhook-id: \xff",
    b"webhook-id: one",
    b"idempotency-key: " + b"k" * 600,
    b"Content-Type: multipart/form-data; boundary=x",
    b"Authorization: Bearer another",
    b"x-convertmax-signature: sha256=zz",
    *(b"X-%d: a" % at for at in range(3)),
]

TARGETS = [
    b"/ingest/inbound/hook",
    b"/ingest/inbound/app",
    b"/ingest/inbound/hook?a=%00&%zz",
    b"/ingest/inbound/hook#a",
    b"/ingest/inbound/hook/",
    b"/ingest/inbound/",
    b"/ingest/inbound/%68ook",
    b"/ingest/inbound/../inbound/hook",
    b"//ingest/inbound/hook",
    b"/ingest/inbound/" + b"h" * 65,
    b"/ingest/inbound/" + b"h" * 17000,
    b"/ingest/inbound/ho\xc3\xb6k",
    b"http://gate/ingest/inbound/hook",
    b"http://u:p@gate:99999999/ingest/inbound/hook",
    b"http:/ingest/inbound/hook",
    b"gate:80",
    b"*",
    b"",
    b"/livez",
    b"/readyz",
    b"/metrics",
]
METHODS = [b"GET", b"HEAD", b"post", b"PUT", b"OPTIONS", b"CONNECT", b"PRI", b"P\xffST", b""]
VERSIONS = [b"HTTP/1.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 ", b""]
ENDS = [b"\n", b"\r", b"\r\r\n", b"\n\r"]
EXTENSIONS = [b";a", b';a="\r\n"', b";" + b"x" * 1100, b" ", b"\t;b", b";\x00", b"\n"]
ENCODINGS = [
    b"gzip",
    b"x-gzip",
    b"deflate",
    b"zstd",
    b"GZIP",
    b"gzip, gzip",
    b"br",
    b"identity",
    b"utf-8",
    b"\xff",
    b"",
]
LASTS = [
    b"0\r\nX-T: a\r\n\r\n",
    b"0;a\r\n\r\n",
    b"0\r\n",
    b"00\r\n\r\n",
    b"-0\r\n\r\n",
    b"0\r\n a: b\r\n\r\n",
    b"",
]

TEXTS = [r"\ud83d", r"\u0000", "\ufeff", "é", r"\"", "x" * 300, "\u202e", "NaN", "-0", "1e999", "1" * 400]
"""Put into JSON where a string's inside, or a number, is due."""

ODD_JSON = [
    b"",
    b"null",
    b"NaN",
    b"[]",
    b"[[]]",
    b"\xff\xfe{\x00}\x00",
    b"\x00\x00\x00{\x00\x00\x00}",
    b'{"inbound_event_id":1,"inbound_event_id":2}',
    b'{"inbound_event_id":"\\ud800"}',
    b'{"inbound_event_id":"\xed\xa0\x80"}',
    b'{"inbound_event_id":18446744073709551616}',
    b'{"inbound_event_id":-1}',
    b'{"batch":{}}',
    b'{"batch":[{"batch":[]}]}',
    b'{"batch":[],"batch":[{"type":"track","messageId":"m"}]}',
    b'{"type":"track","context":[],"batch":[{"type":"page","context":{"a":1}}],"context":null}',
    b"[" * 900 + b"]" * 900,
    b"[" * 5000,
    b'{"a":' * 251 + b"1" + b"}" * 251,
    b'{"a":"' + b"\\" * 999 + b'"}',
    b'{"type":"identify","messageId":"","sentAt":"' + b"9" * 65 + b'"}',
]


PARTS = ("method", "target", "version", "line", "line", "end", "length", "size", "extension", "last", "packing", "body")
"""Of a request: each may be the one that is not as it should be."""

SOURCES = (b"/ingest/inbound/hook", b"/ingest/inbound/app")


def bombs() -> list[bytes]:
    """Small bodies that decode into large ones, or ask for much."""
    large = bytes(300_000)
    return [
        gzip.compress(large, mtime=0),
        gzip.compress(gzip.compress(large, mtime=0), mtime=0),
        gzip.compress(b"", mtime=0) * 300,
        zlib.compress(large),
        zstandard.compress(large),
        zstandard.compress(b"") * 300,
        b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x03\x00\x00",  # a window of 2^31 bytes
        b"\x28\xb5\x2f\xfd\xe3" + b"\xff" * 12,  # a dictionary, and a size of 2^64 - 1
        b"\x50\x2a\x4d\x18\xff\xff\xff\xff",  # a frame of 4 GiB to be skipped
    ]


BOMBS = bombs()


def good_body(number: int, text: str = "good") -> bytes:
    """An event or a batch, taken by both kinds of sources."""
    item = b'{"inbound_event_id":"e-%d","type":"track","messageId":"m-%d","payload":"%b"}'
    item %= (number, number, text.encode())
    return item if number % 2 else b'{"batch":[%b,null],"context":{"a":1}}' % item


@st.composite
def odd_bodies(draw: st.DrawFn) -> bytes:
    """One with something odd in it, or something odd."""
    texts = st.sampled_from(TEXTS).map(lambda text: good_body(1, text))
    body = draw(texts | st.sampled_from(ODD_JSON) | st.binary(max_size=40))
    return draw(st.sampled_from([body, body, b"\xef\xbb\xbf" + body, body.decode("latin-1").encode("utf-16")]))


@st.composite
def packed(draw: st.DrawFn, body: bytes) -> tuple[bytes, bytes]:
    """The body under some encoding, whole, cut or with something behind it, and the line that names one."""
    name = draw(st.sampled_from(ENCODINGS))
    written = gzip.compress(body, mtime=0), zlib.compress(body), zstandard.compress(body), body
    data = draw(st.sampled_from([*written, draw(st.sampled_from(BOMBS))]))
    cut = data[: draw(st.integers(0, len(data)))]
    shape = draw(st.sampled_from([data, data, cut, data + b"trailing", data + data]))
    return shape, b"Content-Encoding: " + name


@st.composite
def in_chunks(draw: st.DrawFn, body: bytes, odd: Sequence[str]) -> bytes:
    """The body in two chunks; of the first one a part may be wrong, or the end of all."""
    cut = draw(st.integers(0, len(body)))
    parts: list[bytes] = []
    for piece in filter(None, (body[:cut], body[cut:])):
        is_odd = not parts
        size = draw(st.sampled_from(NUMBERS)) if "size" in odd and is_odd else b"%x" % len(piece)
        extension = draw(st.sampled_from(EXTENSIONS)) if "extension" in odd and is_odd else b""
        end = draw(st.sampled_from(ENDS)) if "end" in odd and is_odd else b"\r\n"
        parts += size, extension, end, piece, b"\r\n"
    return b"".join(parts) + (draw(st.sampled_from(LASTS)) if "last" in odd else b"0\r\n\r\n")


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request of which a part or two may be wrong."""
    odd = draw(st.lists(st.sampled_from(PARTS), max_size=2))
    lines = [b"Host: gate", b"Authorization: Bearer " + TOKEN.encode()]
    body = draw(odd_bodies()) if "body" in odd else good_body(draw(st.integers(0, 9)))
    if "packing" in odd:
        body, line = draw(packed(body))
        lines.append(line)
    if "length" in odd or draw(st.booleans()):
        lines.append(b"Content-Length: " + (draw(st.sampled_from(NUMBERS)) if "length" in odd else b"%d" % len(body)))
    else:
        lines.append(b"Transfer-Encoding: chunked")
        body = draw(in_chunks(body, odd))
    lines += [draw(st.sampled_from(LINES)) for part in odd if part == "line"]
    if odd == ["line", "line"]:
        lines = draw(st.permutations(lines))[1:]
    method = draw(st.sampled_from(METHODS)) if "method" in odd else b"POST"
    target = draw(st.sampled_from(TARGETS if "target" in odd else SOURCES))
    version = draw(st.sampled_from(VERSIONS)) if "version" in odd else b"HTTP/1.1"
    end = draw(st.sampled_from(ENDS)) if odd == ["end"] else b"\r\n"
    return b"".join(line + end for line in [b" ".join([method, target, version]), *lines, b""]) + body


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """All that a client sends on a connection, in the pieces in which it does, perhaps with bytes wrong or missing."""
    data = bytearray(b"".join(draw(st.lists(requests(), min_size=1, max_size=3))))
    harm = draw(st.sampled_from(["", "", "", "", "changed", "cut"]))
    at = draw(st.integers(0, len(data) - 1))
    if harm == "changed":
        data[at] = draw(st.integers(0, 255))
    elif harm == "cut":
        del data[at:]
    cuts = sorted({0, len(data), *draw(st.lists(st.integers(0, len(data)), max_size=4))})
    return [bytes(data[start:end]) for start, end in itertools.pairwise(cuts)]
