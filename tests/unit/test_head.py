"""Heads: complete, refused, or not complete yet, wherever the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.base.refusal import Refusal
from server.http.head import (
    HEAD_BYTES_MAX,
    HEAD_LINES_MAX,
    LOGGED_BYTES_MAX,
    RequestHead,
    complete_head,
    logged_line,
    received_line,
    skip_empty_lines,
)

GOOD = b"POST /ingest/inbound/demo?a HTTP/1.1\r\nHost: [::1]:8080\r\nContent-Length: 3\r\nX:\t \xff y \r\n\r\n"


def judge(data: bytes) -> bytes | str | None:
    """The head, the refusal's code, or None."""
    verdict = complete_head(bytearray(data))
    return verdict.code if isinstance(verdict, Refusal) else verdict and verdict.raw


def test_a_head_ends_at_its_blank_line() -> None:
    """The head is given up to its blank line; what follows is left in the buffer, as is the head itself."""
    buffer = bytearray(GOOD + b"abc")
    assert judge(bytes(buffer)) == GOOD
    assert buffer == GOOD + b"abc"


@pytest.mark.parametrize("end", range(len(GOOD)))
def test_every_beginning_is_incomplete(end: int) -> None:
    """No beginning of a good head is refused."""
    assert judge(GOOD[:end]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\n",
        b"\n",
        b"\x16\x03\x01",
        b" ",
        b"\xff",
        b"GET /\r\n",
        b"GET / HTTP/2.0\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
    ],
)
def test_a_hopeless_beginning_is_refused_early(data: bytes) -> None:
    """What cannot become a head any more is refused at once, not when the time for it is up."""
    assert judge(data) == "invalid_request"


@pytest.mark.parametrize(
    ("target", "taken", "host"),
    [
        (b"http://b", b"/", b"b"),
        (b"http://b:80?q", b"/?q", b"b:80"),
        (b"hTTpS://u:p@[::1]:8/x/?http://c/", b"/x/?http://c/", b"[::1]:8"),
        (b"http://localhost@evil/x", b"/x", b"evil"),
        (b"http://b:/x", b"/x", b"b"),
        (b"http://@/x", b"http://@/x", b"a"),
        (b"http://:80/x", b"http://:80/x", b"a"),
        (b"http://a[b/x", b"http://a[b/x", b"a"),
        (b"*", b"*", b"a"),
        (b"/http://b/x", b"/http://b/x", b"a"),
    ],
)
def test_absolute_form_names_the_host(target: bytes, taken: bytes, host: bytes) -> None:
    """Of a target in absolute form the path remains, and its authority takes the place of the Host."""
    head = complete_head(b"GET %b HTTP/1.1\r\nX: y\r\nHost: a\r\n\r\n" % target)
    assert isinstance(head, RequestHead)
    assert (head.target, head.fields.lines) == (taken, [(b"x", b"y"), (b"host", host)])


def test_empty_lines_before_the_request() -> None:
    """Empty lines before the request line are taken out of the buffer."""
    buffer = bytearray(b"\r\n\r\n" + GOOD)
    skip_empty_lines(buffer)
    assert judge(bytes(buffer)) == GOOD
    assert buffer == GOOD


@pytest.mark.parametrize(("excess", "verdict"), [(0, None), (1, "headers_too_large")])
def test_a_head_is_limited_in_bytes(excess: int, verdict: str | None) -> None:
    """A head of exactly the limit is taken, one byte more is not, complete or not."""
    start = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
    data = start + b"y" * (HEAD_BYTES_MAX - len(start) - 4 + excess) + b"\r\n\r\n"
    assert judge(data) == (verdict or data)
    assert judge(data[:HEAD_BYTES_MAX]) == (verdict or data)
    assert judge(data[: HEAD_BYTES_MAX - 1]) is None


@pytest.mark.parametrize(("lines", "code"), [(HEAD_LINES_MAX, None), (HEAD_LINES_MAX + 1, "headers_too_large")])
def test_a_head_is_limited_in_lines(lines: int, code: str | None) -> None:
    """A head of exactly as many header lines as allowed is taken, one line more is not, complete or not."""
    start = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * (lines - 1)
    assert judge(start) == code
    assert judge(start + b"\r\n") == (code or start + b"\r\n")


@given(st.binary(max_size=200), st.integers(0, len(GOOD)), st.integers(0, len(GOOD)))
def test_any_bytes_give_head_or_refusal(noise: bytes, start: int, end: int) -> None:
    """Any bytes give a head, a refusal of the closed list, or a wait; never anything else."""
    verdict = judge(GOOD[:start] + noise + GOOD[end:])
    assert verdict is None or isinstance(verdict, bytes) or verdict in {"invalid_request", "headers_too_large"}


@given(st.binary(max_size=60), st.integers(0, len(GOOD)), st.integers(1, 200))
def test_a_cut_keeps_nobody_out(noise: bytes, start: int, cut: int) -> None:
    """What is refused early would be refused whole: where the bytes are cut keeps nobody out."""
    data = GOOD[:start] + noise + GOOD[start:] + b"\r\n\r\n"
    early, whole = judge(data[:cut]), judge(data)
    assert early is None or early == whole or not isinstance(whole, bytes)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/ingest/inbound/demo?token=secret", "/ingest/inbound/demo"),
        (b"/a#secret", "/a"),
        (b"http://user:secret@host:80/a/b?secret", "/a/b"),
        (b"HTTPS://secret@host?secret", "/"),
        (b"http://secret", "/"),
        (b"/a/http://kept/b", "/a/http://kept/b"),
        (b"secret@host:443", ""),
        (b"secret", ""),
        (b"*", ""),
        (b"?secret", "/"),
        (b"/%1b%0a", "/%1b%0a"),
        (b"/\x1b[31m\xff\r\n\xc3\xa9", "/\\x1b[31m\\xff\\r\\né"),
        (b"/" + b"x" * 300, "/" + "x" * (LOGGED_BYTES_MAX - 1)),
    ],
)
def test_a_logged_path_holds_no_secret(target: bytes, path: str) -> None:
    """Neither query nor authority is logged, only so much of the path, and nothing that drives a terminal."""
    assert logged_line(b"M" * 300, target) == ("M" * LOGGED_BYTES_MAX, path)


def test_a_line_is_found_in_refused_heads() -> None:
    """A head that is slow, too large or has a bad field still has its request line; what is malformed has none."""
    assert received_line(b"GET /a?secret HTTP/1.1\r\nbad field") == ("GET", "/a")
    assert received_line(bytearray(b"GET /a HTTP/1.1\r\n") + b"x" * HEAD_BYTES_MAX) == ("GET", "/a")
    for malformed in (b"", b"GET /secr", b"GET /\x1b HTTP/1.1\r\n", b"secret\r\n", b"GET / HTTP/2.0\r\n"):
        assert received_line(malformed) == ("", "")
