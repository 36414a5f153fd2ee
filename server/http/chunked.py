"""The chunked transfer coding (RFC 9112, section 7.1), decoded strictly: bytes in, pieces of the body out. No I/O."""

import re

CHUNK_LINE_BYTES_MAX = 1024
"""Size and extensions of a chunk. Extensions are ignored; hardly any client sends them."""

TRAILER_BYTES_MAX = 16384
"""All trailer lines together. They are ignored."""

PIECES_MAX = 256
"""Chunks decoded at a time, in well under a millisecond: then others are served, since a chunk may be one byte."""

SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?[ \t]*")
TRAILER_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00-\x08\x0a-\x1f\x7f]*")


class MalformedChunks(Exception):
    """The body is not a chunked body."""


class ChunkDecoder:
    """Decodes one body. `done` is set at its end; then the buffer holds what follows it."""

    def __init__(self) -> None:
        self.done = False
        self.has_more = False
        """Whether `decode` left pieces in the buffer for its next call."""
        self._left = 0
        self._in_chunk = False
        self._in_trailer = False
        self._trailer_bytes = 0

    def decode(self, buffer: bytearray) -> bytes:
        """Remove the next pieces of the body from the front of `buffer`, at most PIECES_MAX; return them joined."""
        pieces: list[bytes] = []
        at = 0
        while not self.done and len(pieces) < PIECES_MAX:
            if self._left:
                piece = bytes(buffer[at : at + self._left])
                if not piece:
                    break
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                continue
            end = buffer.find(b"\r\n", at, at + CHUNK_LINE_BYTES_MAX)
            if end < 0:
                self._check_unfinished(buffer, at)
                break
            self._line(bytes(buffer[at:end]))
            at = end + 2
        self.has_more = len(pieces) >= PIECES_MAX and not self.done
        del buffer[:at]
        return b"".join(pieces)

    def _line(self, line: bytes) -> None:
        if self._in_trailer:
            self._trailer_line(line)
        elif self._in_chunk:
            if line:
                raise MalformedChunks
            self._in_chunk = False
        else:
            self._size_line(line)

    def _size_line(self, line: bytes) -> None:
        size = SIZE_LINE.fullmatch(line)
        if size is None:
            raise MalformedChunks
        self._left = int(size[1], 16)
        self._in_chunk = self._left > 0
        self._in_trailer = self._left == 0

    def _trailer_line(self, line: bytes) -> None:
        self._trailer_bytes += len(line) + 2
        if not line:
            self.done = True
        elif not TRAILER_LINE.fullmatch(line) or self._trailer_bytes > TRAILER_BYTES_MAX:
            raise MalformedChunks

    def _check_unfinished(self, buffer: bytearray, at: int) -> None:
        """Raise MalformedChunks unless what has arrived can still become a line."""
        rest = bytes(buffer[at : at + CHUNK_LINE_BYTES_MAX])
        after_data = self._in_chunk and rest not in (b"", b"\r")
        if len(rest) >= CHUNK_LINE_BYTES_MAX or b"\n" in rest or after_data:
            raise MalformedChunks
