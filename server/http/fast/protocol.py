"""HTTP/1.1 on one connection of the fast lane, without a socket: bytes in, deliveries out.

It knows one kind of request, `POST /ingest/inbound/SOURCE`. Whatever else begins is `ELSEWHERE`: another front end's,
with the bytes that came already. Heads are checked by the same code there and here.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from server.base.refusal import Refusal
from server.http.fast.chunked import ChunkDecoder, MalformedChunks
from server.http.fast.head_templates import SHAPED_BYTES_MAX, Shapes
from server.http.frontend import BROKEN_BODY
from server.http.head import RequestHead, complete_head
from server.http.remote import Network, remote_address
from server.intake.intake import Head
from storage.record import record

PREFIX = b"POST /ingest/inbound/"
TARGET = re.compile(rb"/ingest/inbound/([A-Za-z0-9_-]{1,64})(?:\?.*)?")

HEADS_MAX = 1024
"""Heads remembered, twice: senders repeat theirs, but for the length of the body."""
HEAD_BYTES_REMEMBERED_MAX = 1024
"""A longer head is parsed each time; so what is remembered takes a few MB at most."""


@record
class Delivery:
    """A request on its way: its head as intake wants it, and what HTTP says of it."""

    head: Head
    is_last: bool
    """The client closes after it."""
    expects_continue: bool


class Elsewhere:
    """Not a delivery: for the complete front end."""


ELSEWHERE = Elsewhere()


class Heads:
    """Parsed heads by the peer and their exact bytes. Bounded: when it is full, the older half is forgotten.

    A head that varies each time is not kept, but the shape that it shares with others.
    """

    def __init__(self, trusted_proxies: Sequence[Network]) -> None:
        self._trusted_proxies = trusted_proxies
        self._shapes = Shapes()
        self._young: dict[tuple[str, bytes], Delivery] = {}
        self._old: dict[tuple[str, bytes], Delivery] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __iter__(self) -> Iterator[Delivery]:
        yield from (*self._young.values(), *self._old.values())

    def delivery(self, peer: str, raw: bytes) -> Delivery | Refusal | Elsewhere | None:
        """What this complete head asks for."""
        key = (peer, raw)
        found = self._young.get(key) or self._old.get(key)
        if found is not None:
            return found
        lines = raw.split(b"\r\n") if len(raw) <= SHAPED_BYTES_MAX else []
        shape = self._shapes.find(lines)
        if shape is not None and (head := shape.head(peer, lines, self._trusted_proxies)) is not None:
            made = Delivery(head, shape.is_last, shape.expects_continue)
            if shape.is_repeated:
                self._remember(key, made)
            return made
        return self._parsed(key, lines)

    def _parsed(self, key: tuple[str, bytes], lines: Sequence[bytes]) -> Delivery | Refusal | Elsewhere | None:
        """The same of a head that is like no other."""
        peer, raw = key
        head = complete_head(raw)
        if not isinstance(head, RequestHead):
            return head
        made = self._made(peer, head)
        if isinstance(made, Delivery):
            self._remember(key, made)
            self._shapes.learn(lines, made.head, is_last=made.is_last, expects_continue=made.expects_continue)
        return made

    def _remember(self, key: tuple[str, bytes], delivery: Delivery) -> None:
        if len(key[1]) > HEAD_BYTES_REMEMBERED_MAX:
            return
        if len(self._young) >= HEADS_MAX:
            self._old, self._young = self._young, {}
        self._young[key] = delivery

    def _made(self, peer: str, head: RequestHead) -> Delivery | Elsewhere:
        target = TARGET.fullmatch(head.target)
        if target is None or head.method != b"POST" or not head.is_http_1_1:
            return ELSEWHERE
        fields = head.fields
        return Delivery(
            Head(
                source_id=target[1].decode(),
                authorization=fields.only(b"authorization"),
                headers=fields.lines,
                content_length=head.length,
                remote_addr=remote_address(peer, fields.lines, self._trusted_proxies),
            ),
            b"close" in [token.strip() for token in b",".join(fields.all(b"connection")).lower().split(b",")],
            b",".join(fields.all(b"expect")).lower() == b"100-continue",
        )


class Protocol:
    """One connection's bytes. `next_delivery`, then `next_body` until it gives one, then `next_delivery` again."""

    __slots__ = ("_chunks", "_heads", "_left", "_pieces", "buffer", "peer")

    def __init__(self, heads: Heads, peer: str) -> None:
        self._heads = heads
        self.peer = peer
        self.buffer = b""
        """Received and not yet taken."""
        self._pieces: list[bytes] = []
        self._left = 0
        self._chunks: ChunkDecoder | None = None

    def receive(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data

    def next_delivery(self) -> Delivery | Refusal | Elsewhere | None:
        """The next request, its head taken out of the buffer; None while it is incomplete."""
        buffer = self.buffer
        if not buffer.startswith(PREFIX):
            if not buffer or PREFIX.startswith(buffer):
                return None
            return ELSEWHERE
        end = buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            found = complete_head(buffer)
            return found if isinstance(found, Refusal) else None
        delivery = self._heads.delivery(self.peer, buffer[:end])
        if isinstance(delivery, Delivery):
            self.buffer = buffer[end:]
            length = delivery.head.content_length
            self._chunks = ChunkDecoder() if length is None else None
            self._left = length or 0
        return delivery

    def whole(self, data: bytes) -> tuple[Delivery, bytes] | None:
        """A delivery and its body, where the data are just that; they are not taken. None says nothing."""
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or not data.startswith(PREFIX):
            return None
        delivery = self._heads.delivery(self.peer, data[:end])
        if not isinstance(delivery, Delivery) or delivery.head.content_length != len(data) - end:
            return None
        return delivery, data[end:]

    @property
    def has_more(self) -> bool:
        """`next_body` left bytes for its next call, without having looked at them."""
        return self._chunks is not None and self._chunks.has_more

    def next_body(self, grow: Callable[[int], Refusal | None]) -> bytes | Refusal | None:
        """The whole body, once it has come. `grow` hears of every piece as it comes, and may refuse."""
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
            piece = chunks.take(buffer)
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
