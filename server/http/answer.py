"""What goes back to the sender: status, JSON body, headers; the same object whichever front end writes it."""

from dataclasses import dataclass

import orjson

from server.refusal import Refusal

JSON_TYPE = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class Answer:
    """`code` is the refusal's, "" for a 200; `close` ends the connection after the answer."""

    status: int
    body: bytes
    code: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = (JSON_TYPE,)
    close: bool = False


def refusal_answer(refusal: Refusal, *, close: bool) -> Answer:
    """The refusal as `{"code","message"}`, with Retry-After where sending again helps."""
    headers: tuple[tuple[bytes, bytes], ...] = (JSON_TYPE,)
    if refusal.retry_after_seconds is not None:
        headers += ((b"retry-after", b"%d" % refusal.retry_after_seconds),)
    body = orjson.dumps({"code": refusal.code, "message": refusal.message})
    return Answer(refusal.status, body, refusal.code, headers, close)
