"""The request's body, read by us and not by Quart: on demand, counted as it arrives, within one time limit.

Quart would read every body before and beside the handler, whoever sent it. So Quart gets an empty one, and the handler
finds a `BodyReader` in its scope. The connection sends `100 Continue` on the first read, so never to a sender that is
refused at the head.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import trio

from server.base.refusal import Refusal, refuse
from server.http.frontend import BROKEN_BODY, SLOW_BODY

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application: (Scope, Receive, Send). Quart has other types for these."""
Grow = Callable[[int], Refusal | None]
"""Called with the size of each piece of a body as it arrives; may refuse it."""

READER = "tidegate.body"
"""The key of the `BodyReader` in the scope."""
AUTHENTICATED = "tidegate.authenticated"
"""The key of what to call when it is known who sends."""
HAS_LEFT = "tidegate.has_left"
"""The key of what tells whether the client has left: for answers that have no end of their own."""


class BodyReader:
    """One request's body. `read` it at most once; a body that is not read costs nothing."""

    def __init__(self, receive: Receive, timeout_seconds: float, authenticated: Callable[[], None]) -> None:
        self._receive = receive
        self._timeout_seconds = timeout_seconds
        self.authenticated = authenticated
        """To be called when it is known who sends."""

    async def read(self, grow: Grow) -> bytes | Refusal:
        """Return the whole body, or a refusal. `grow` is called for every piece before the next is read."""
        with trio.move_on_after(self._timeout_seconds):
            return await self._read(grow)
        return SLOW_BODY

    async def _read(self, grow: Grow) -> bytes | Refusal:
        pieces = []
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                return BROKEN_BODY
            piece = message["body"]
            if piece and (refusal := grow(len(piece))) is not None:
                return refusal
            pieces.append(piece)
            if not message["more_body"]:
                return b"".join(pieces)


def up_to(bytes_max: int) -> Grow:
    """Return a `grow` that refuses a body of more than `bytes_max`."""
    left = bytes_max

    def grow(count: int) -> Refusal | None:
        nonlocal left
        left -= count
        return refuse("too_large", f"the body is limited to {bytes_max} bytes") if left < 0 else None

    return grow


def with_body_reader(app: App, timeout_seconds: float) -> App:
    """Wrap an ASGI `app`: it gets a BodyReader in its scope, an empty body itself, and the raw target as its path.

    The path stays percent-encoded, so that routes match byte for byte; handlers decode what they need.
    """

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"{scope['type']} is not supported")
        reader = BodyReader(receive, timeout_seconds, scope[AUTHENTICATED])
        own = {**scope, "path": scope["raw_path"].decode("latin-1"), READER: reader}
        await app(own, _empty_body(), send)

    return wrapped


def _empty_body() -> Receive:
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            await trio.sleep_forever()  # the app is never told of a disconnect: it finishes what it has begun
        given = True
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive
