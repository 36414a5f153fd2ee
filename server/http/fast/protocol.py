"""HTTP/1.1 on one connection of the fast lane, without a socket: bytes in, deliveries out.

It knows deliveries: POSTs to the routes of `intake/routes.py`. Anything else is `OTHER_REQUEST`, for the complete front
end, with the bytes received already. The same code checks heads there and here.
"""

from collections.abc import Callable

from server.base.refusal import Refusal
from server.http.chunked import ChunkDecoder, MalformedChunks
from server.http.fast.head_cache import HeadCache
from server.http.fast.ingest_head import OTHER_REQUEST, IngestHead, OtherRequest
from server.http.frontend import BROKEN_BODY
from server.http.head import complete_head
from server.intake.routes import STARTS

PREFIXES = tuple(b"POST " + start for start in STARTS)


class IngestProtocol:
    """One connection's bytes. Call `next_head`, then `next_body` until it returns one, then `next_head` again."""

    __slots__ = ("_chunks", "_heads", "_left", "_pieces", "buffer", "peer")

    def __init__(self, heads: HeadCache, peer: str) -> None:
        self._heads = heads
        self.peer = peer
        self.buffer = b""
        """Received, and not consumed yet."""
        self._pieces: list[bytes] = []
        self._left = 0
        self._chunks: ChunkDecoder | None = None

    def receive(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data

    def next_head(self) -> IngestHead | Refusal | OtherRequest | None:
        """Return the head of the next request; None while it is incomplete. A delivery's is removed from the buffer."""
        buffer = self.buffer
        if not buffer.startswith(PREFIXES):
            if any(prefix.startswith(buffer) for prefix in PREFIXES):
                return None
            return OTHER_REQUEST
        end = buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            found = complete_head(buffer)
            return found if isinstance(found, Refusal) else None
        head = self._heads.read(self.peer, buffer[:end])
        if isinstance(head, IngestHead):
            self.buffer = buffer[end:]
            length = head.head.content_length
            self._chunks = ChunkDecoder() if length is None else None
            self._left = length or 0
        return head

    def plain_request(self, data: bytes) -> tuple[IngestHead, bytes] | None:
        """Return head and body if `data` is exactly one delivery that needs no special treatment, else None.

        The buffer is left unchanged.
        """
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or not data.startswith(PREFIXES):
            return None
        head = self._heads.read(self.peer, data[:end])
        if not isinstance(head, IngestHead) or head.head.content_length != len(data) - end:
            return None
        return None if head.is_last or head.expects_continue else (head, data[end:])

    @property
    def has_more(self) -> bool:
        """Whether `next_body` left bytes unread for its next call."""
        return self._chunks is not None and self._chunks.has_more

    def next_body(self, grow: Callable[[int], Refusal | None]) -> bytes | Refusal | None:
        """Return the whole body; None while it is incomplete. `grow` is called for every piece, and may refuse."""
        if self._chunks is not None:
            return self._chunked(self._chunks, grow)
        buffer = self.buffer
        if not self._pieces and len(buffer) >= self._left:
            body, self.buffer = buffer[: self._left], buffer[self._left :]
            return grow(len(body)) or body
        piece, self.buffer = buffer[: self._left], buffer[self._left :]
        self._left -= len(piece)
        return self._grown(piece, grow, complete=self._left == 0)

    def _chunked(self, chunks: ChunkDecoder, grow: Callable[[int], Refusal | None]) -> bytes | Refusal | None:
        buffer = bytearray(self.buffer)
        try:
            piece = chunks.decode(buffer)
        except MalformedChunks:
            return BROKEN_BODY
        self.buffer = bytes(buffer)
        return self._grown(piece, grow, complete=chunks.done)

    def _grown(self, piece: bytes, grow: Callable[[int], Refusal | None], *, complete: bool) -> bytes | Refusal | None:
        if piece and (refusal := grow(len(piece))) is not None:
            return refusal
        self._pieces.append(piece)
        if not complete:
            return None
        body = b"".join(self._pieces)
        self._pieces = []
        return body
