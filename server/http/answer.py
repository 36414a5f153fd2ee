"""What goes back to the sender: status, JSON body, headers; the same object whichever front end writes it."""

from http.client import responses

import orjson

from server.base.refusal import Refusal
from storage.record import record

PHRASES = {status: phrase.encode() for status, phrase in responses.items()}

JSON_TYPE = (b"content-type", b"application/json")
PLAIN: tuple[tuple[bytes, bytes], ...] = (JSON_TYPE,)
PLAIN_LINES = b"content-type: application/json\r\n"
"""The headers of nearly every answer, and how they are written."""


@record
class Answer:
    """`code` is the refusal's, "" for a 200; `close` ends the connection after the answer."""

    status: int
    body: bytes
    code: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = PLAIN
    close: bool = False


def written(answer: Answer, date: bytes, *, last: bool) -> bytes:
    """The answer in HTTP/1.1. `last`: it is the connection's last one, whatever it says of itself."""
    if answer.headers is PLAIN:
        headers = PLAIN_LINES
    else:
        headers = b"".join([b"%b: %b\r\n" % header for header in answer.headers])
    close = b"connection: close\r\n" if last or answer.close else b""
    return b"HTTP/1.1 %d %b\r\n%bcontent-length: %d\r\ndate: %b\r\n%b\r\n%b" % (
        answer.status,
        PHRASES[answer.status],
        headers,
        len(answer.body),
        date,
        close,
        answer.body,
    )


def refusal_answer(refusal: Refusal, *, close: bool) -> Answer:
    """The refusal as `{"code","message"}`, with Retry-After where sending again helps."""
    headers = PLAIN
    if refusal.retry_after_seconds is not None:
        headers += ((b"retry-after", b"%d" % refusal.retry_after_seconds),)
    body = orjson.dumps({"code": refusal.code, "message": refusal.message})
    return Answer(refusal.status, body, refusal.code, headers, close)
