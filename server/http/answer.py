"""Answers: status, JSON body, headers; and the one function that encodes them in HTTP/1.1."""

from collections.abc import Iterable
from dataclasses import field
from email.utils import formatdate
from functools import lru_cache
from http.client import responses

import orjson

from server.base.clock import wall_ms
from server.base.refusal import Refusal
from server.http.head import Header
from server.intake.handshakes import Handshake
from server.observe.refusals import Grounds
from storage.frozen import frozen

PHRASES = {status: phrase.encode() for status, phrase in responses.items()}

JSON_TYPE = (b"content-type", b"application/json")
PLAIN: tuple[Header, ...] = (JSON_TYPE,)
PLAIN_LINES = b"content-type: application/json\r\n"
"""The headers of nearly every answer, and their encoding."""

ECHO: tuple[Header, ...] = ((b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff"))
"""Of an answer that holds what a stranger wrote: no browser takes it for a page."""

CHALLENGE = (b"www-authenticate", b"Bearer")
"""A 401 has to say how to authenticate (RFC 9110, section 15.5.2)."""

CHUNKED = b"transfer-encoding: chunked\r\n"
CLOSE = b"connection: close\r\n"
CONTINUE = b"HTTP/1.1 100 \r\n\r\n"
"""Tells a client that waits for it to send its body."""


@frozen
class Answer:
    """One answer. `code` is the refusal's, "" for a 200; `close` ends the connection after the answer."""

    status: int
    body: bytes
    code: str = ""
    headers: tuple[Header, ...] = PLAIN
    close: bool = False
    grounds: Grounds | None = field(default=None, compare=False)
    """Of the refusal of a delivery, for the record."""


def refusal_answer(refusal: Refusal, *, close: bool, grounds: Grounds | None = None) -> Answer:
    """Return the answer for a refusal: `{"code","message"}`, with Retry-After if a retry helps; 401 challenges."""
    headers = PLAIN
    if refusal.retry_after_seconds is not None:
        headers += ((b"retry-after", b"%d" % refusal.retry_after_seconds),)
    if refusal.status == 401:
        headers += (CHALLENGE,)
    body = orjson.dumps({"code": refusal.code, "message": refusal.message})
    return Answer(refusal.status, body, refusal.code, headers, close, grounds)


def handshake_answer(asked: Handshake) -> Answer:
    """Return what a vendor is answered that asks before it sends."""
    return Answer(200, asked.body, headers=ECHO if asked.is_text else PLAIN)


def encode_answer(answer: Answer, *, last: bool) -> bytes:
    """Return the answer in HTTP/1.1. `last`: the connection ends after it, whatever `answer.close` says."""
    framing = b"content-length: %d\r\n" % len(answer.body)
    return encode_head(answer.status, answer.headers, framing, last=last or answer.close) + answer.body


def encode_head(status: int, headers: Iterable[Header], framing: bytes, *, last: bool) -> bytes:
    """Return all that precedes the body. `framing` is the header line that delimits the body, or b""."""
    lines = PLAIN_LINES if headers is PLAIN else b"".join([b"%b: %b\r\n" % header for header in headers])
    return b"HTTP/1.1 %d %b\r\n%b%bdate: %b\r\n%b\r\n" % (
        status,
        PHRASES[status],
        lines,
        framing,
        _date(wall_ms() // 1000),
        CLOSE if last else b"",
    )


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    """Return the value of the Date header; computed once a second."""
    return formatdate(second, usegmt=True).encode()
