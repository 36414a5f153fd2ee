"""What goes back to the sender: status, JSON body, headers; the same object whichever front end writes it."""

from http.client import responses

import orjson

from server.refusal import Refusal
from storage.record import record

PHRASES = {status: phrase.encode() for status, phrase in responses.items()}

JSON_TYPE = (b"content-type", b"application/json")


@record
class Answer:
    """`code` is the refusal's, "" for a 200; `close` ends the connection after the answer."""

    status: int
    body: bytes
    code: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = (JSON_TYPE,)
    close: bool = False


def written(answer: Answer, date: bytes, *, last: bool) -> bytes:
    """The answer in HTTP/1.1. `last`: it is the connection's last one, whatever it says of itself."""
    lines = [b"HTTP/1.1 %d %s" % (answer.status, PHRASES[answer.status])]
    lines += [b"%s: %s" % header for header in answer.headers]
    lines.append(b"content-length: %d" % len(answer.body))
    lines.append(b"date: " + date)
    if last or answer.close:
        lines.append(b"connection: close")
    return b"\r\n".join([*lines, b"", answer.body])


def refusal_answer(refusal: Refusal, *, close: bool) -> Answer:
    """The refusal as `{"code","message"}`, with Retry-After where sending again helps."""
    headers: tuple[tuple[bytes, bytes], ...] = (JSON_TYPE,)
    if refusal.retry_after_seconds is not None:
        headers += ((b"retry-after", b"%d" % refusal.retry_after_seconds),)
    body = orjson.dumps({"code": refusal.code, "message": refusal.message})
    return Answer(refusal.status, body, refusal.code, headers, close)
