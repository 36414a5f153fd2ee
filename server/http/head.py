"""Parses request heads strictly: bytes in, a complete head or a refusal out. No I/O.

h11 reads the head again. This runs first, since h11 is lenient where two parsers in a row must not disagree (RFC 9112,
section 11.2): Content-Length beside Transfer-Encoding, bare LF, folded lines, CONNECT.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from server.base.printable import printable
from server.base.refusal import Refusal, refuse

HEAD_BYTES_MAX = 16384
"""The default of node.js, IIS, h11 and Hypercorn."""
HEAD_LINES_MAX = 100
"""Header lines, without the request line; as Apache's LimitRequestFields."""

Header = tuple[bytes, bytes]
"""A lower-case name, and the value without surrounding white space."""

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
REQUEST = rb"(" + TOKEN + rb") ([\x21-\x7e]++) HTTP/1\.([01])"
REQUEST_LINE = re.compile(REQUEST)
VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"
"""Lists the allowed bytes: a quarter faster to match than excluding the others."""
HEAD = re.compile(REQUEST + rb"\r\n((?:" + TOKEN + rb":" + VALUE + rb"\r\n)*+)\r\n")
"""Matches a whole head at C speed; possessive, so that no input makes it backtrack."""
HOST_AND_PORT = rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
HOST = re.compile(HOST_AND_PORT)
ABSOLUTE_FORM = re.compile(rb"(?i:https?)://(?:[^/?#]*@)?(?![:/?#]|\Z)(" + HOST_AND_PORT + rb"):?((?:[/?#].*)?)")
LENGTH_DIGITS_MAX = 20
LENGTH = re.compile(rb"[0-9]{1,%d}" % LENGTH_DIGITS_MAX)
BARE_LF = re.compile(rb"(?<!\r)\n")

AUTHORITY = re.compile(rb"\A[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
LOGGED_BYTES_MAX = 200
"""Of a method and of a path in the log: longer than any of ours, too short to fill it."""

TOO_LARGE = refuse("headers_too_large", f"the head is limited to {HEAD_BYTES_MAX} bytes and {HEAD_LINES_MAX} lines")
TOO_SLOW = refuse("timeout", "the head did not come in time")


class Fields:
    """The header lines of a request, in order."""

    __slots__ = ("_last", "_repeats", "lines")

    def __init__(self, lines: Sequence[Header]) -> None:
        self.lines = lines
        self._last = dict(lines)
        self._repeats = len(self._last) != len(lines)

    def all(self, name: bytes) -> Sequence[bytes]:
        """Return every value of this name."""
        value = self._last.get(name)
        if value is None:
            return ()
        return [each for key, each in self.lines if key == name] if self._repeats else (value,)

    def only(self, name: bytes) -> bytes | None:
        """Return the only value of this name; None if there is none, or more than one."""
        values = self.all(name)
        return values[0] if len(values) == 1 else None

    def tokens(self, name: bytes) -> Sequence[bytes]:
        """Return the members of a list header, in lower case."""
        return [token.strip() for token in b",".join(self.all(name)).lower().split(b",")]


class RequestHead(NamedTuple):
    """A complete, valid request head."""

    raw: bytes
    """As received, with its blank line."""
    method: bytes
    target: bytes
    """In origin form: of an absolute one the authority is the Host, as RFC 9112 says (section 3.2.2)."""
    is_http_1_1: bool
    fields: Fields
    length: int | None
    """Of the body, in bytes; None if it is chunked."""

    @property
    def is_last(self) -> bool:
        """Whether the client closes after this request."""
        return not self.is_http_1_1 or b"close" in self.fields.tokens(b"connection")

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for `100 Continue` before it sends the body."""
        return self.is_http_1_1 and b"100-continue" in self.fields.tokens(b"expect")


class RequestLine(NamedTuple):
    """Method and path of a request, as they may be logged: "" if unknown."""

    method: str = ""
    path: str = ""


def logged_line(method: bytes, target: bytes) -> RequestLine:
    """Return what may be logged: neither query nor authority, which may hold a secret; the first bytes, escaped."""
    written = AUTHORITY.sub(b"", target, count=1)
    path = re.split(rb"[?#]", written, maxsplit=1)[0] or b"/"
    if path[:1] != b"/":
        path = b""  # an authority alone, or `*`
    return RequestLine(
        *(printable(each[:LOGGED_BYTES_MAX].decode("utf-8", "backslashreplace")) for each in (method, path))
    )


def received_line(received: bytes | bytearray) -> RequestLine:
    """Return the request line at the front of what was received, if there is a valid one, as it may be logged."""
    found = REQUEST_LINE.fullmatch(received.partition(b"\r\n")[0])
    return logged_line(found[1], found[2]) if found else RequestLine()


def complete_head(buffer: bytes | bytearray) -> RequestHead | Refusal | None:
    """Return the first head in `buffer`, and leave it there; None while it is incomplete.

    Refuses as soon as the bytes cannot become a valid head. Call `skip_empty_lines` first.
    """
    end = buffer.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX)
    if end < 0:
        return _check_incomplete(buffer)
    return _parse(bytes(buffer[: end + 4]))


def skip_empty_lines(buffer: bytearray) -> None:
    """Remove empty lines before a request line (RFC 9112, section 2.2)."""
    while buffer.startswith(b"\r\n"):
        del buffer[:2]


def _check_incomplete(buffer: bytes | bytearray) -> Refusal | None:
    if len(buffer) >= HEAD_BYTES_MAX:
        return TOO_LARGE
    if buffer and buffer != b"\r" and not 0x20 < buffer[0] < 0x7F:
        return _malformed("this is no HTTP/1.1 request")  # TLS, for one
    if BARE_LF.search(buffer):
        return _malformed("lines must end with CR LF")
    line, complete, _ = buffer.partition(b"\r\n")
    if complete and not REQUEST_LINE.fullmatch(line):
        return _malformed("the request line is malformed, or not HTTP/1.1")
    if buffer.count(b"\r\n") > HEAD_LINES_MAX + 1:
        return TOO_LARGE
    return None


def _parse(raw: bytes) -> RequestHead | Refusal:
    found = HEAD.fullmatch(raw)
    if found is None:
        return _why_malformed(raw)
    method, target, minor, written = found.groups()
    lines = written.split(b"\r\n")
    del lines[-1]
    if len(lines) > HEAD_LINES_MAX:
        return TOO_LARGE
    headers = [(name.lower(), value.strip(b" \t")) for name, _, value in [line.partition(b":") for line in lines]]
    fields = Fields(headers)
    framing = _framing(method, minor == b"1", fields)
    if isinstance(framing, Refusal):
        return framing
    if not target.startswith(b"/"):
        target, fields = _in_origin_form(target, fields)
    return RequestHead(raw, method, target, minor == b"1", fields, framing.length)


def _in_origin_form(target: bytes, fields: Fields) -> tuple[bytes, Fields]:
    """Return the path and query of a target in absolute form, and the fields with its authority for a Host.

    User and password are left out. Any other target is returned as it is.
    """
    found = ABSOLUTE_FORM.fullmatch(target)
    if found is None:
        return target, fields
    host, rest = found.groups()
    lines = [(name, host if name == b"host" else value) for name, value in fields.lines]
    if not fields.all(b"host"):
        lines.append((b"host", host))
    return rest if rest.startswith(b"/") else b"/" + rest, Fields(lines)


def _why_malformed(raw: bytes) -> Refusal:
    if not REQUEST_LINE.fullmatch(raw[: raw.index(b"\r\n")]):
        return _malformed("the request line is malformed, or not HTTP/1.1")
    return TOO_LARGE if raw.count(b"\r\n") > HEAD_LINES_MAX + 2 else _malformed("a header line is malformed")


class _Framing(NamedTuple):
    length: int | None


def _framing(method: bytes, is_http_1_1: bool, fields: Fields) -> _Framing | Refusal:
    """Return the length of the body (None if chunked), or a refusal if it is ambiguous."""
    hosts, codings, lengths = fields.all(b"host"), fields.all(b"transfer-encoding"), fields.all(b"content-length")
    if method == b"CONNECT":
        return _malformed("CONNECT is not served")
    if len(hosts) != 1 and (hosts or is_http_1_1):
        return _malformed("exactly one Host header is required")
    if hosts and not HOST.fullmatch(hosts[0]):
        return _malformed("the Host header is malformed")
    if codings and lengths:
        return _malformed("Content-Length and Transfer-Encoding exclude each other")
    if codings and (len(codings) > 1 or codings[0].lower() != b"chunked" or not is_http_1_1):
        return _malformed("the only Transfer-Encoding is chunked, in HTTP/1.1")
    if lengths and (len(lengths) > 1 or not LENGTH.fullmatch(lengths[0])):
        return _malformed("Content-Length must be one number")
    return _Framing(None if codings else int(lengths[0]) if lengths else 0)


def _malformed(message: str) -> Refusal:
    return refuse("invalid_request", message)
