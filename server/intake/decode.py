"""Undoes Content-Encoding, never holding more than the decoded limit and a few pieces, whatever a body claims."""

import zlib
from collections.abc import Iterator
from io import BytesIO

import zstandard

from server.base.refusal import Refusal, refuse

PIECE_BYTES = 65536
"""At most this much is decoded between two checks of the limit."""

INPUT_STEP_BYTES = 8192
"""zlib copies what a step leaves unused, so steps are small: many tiny gzip members must not cost quadratic time."""

ZSTD_WINDOW_BYTES_MAX = 8 * 1024 * 1024
"""The largest window that RFC 9659 lets a sender ask of a decoder."""

PARTS_MAX = 20_000
"""gzip members, zstd frames and blocks of one body. Each costs some µs even if empty; senders make dozens."""

_NO_ENCODINGS = (b"", b"identity", b"utf-8", b"utf8")
"""A charset is no content encoding, but senders write it here."""

Buffer = bytes | bytearray | memoryview


class _DecodeError(Exception):
    """Carries the refusal out of the generators."""

    def __init__(self, code: str, message: str) -> None:
        self.refusal = refuse(code, message)


def decode(body: Buffer, content_encoding: bytes | None, decoded_bytes_max: int) -> bytes | Refusal:
    """Return the decoded body. At most one encoding: gzip, x-gzip, deflate (zlib or raw) or zstd."""
    name = _encodings(content_encoding)
    if not name:
        return bytes(body) if len(body) <= decoded_bytes_max else _too_large(decoded_bytes_max)
    view = memoryview(body)
    if name in (b"gzip", b"x-gzip"):
        pieces = _inflate(view, zlib.MAX_WBITS | 16, many_members=True)
    elif name == b"deflate":
        pieces = _inflate(view, zlib.MAX_WBITS if _has_zlib_header(view) else -zlib.MAX_WBITS, many_members=False)
    elif name == b"zstd":
        pieces = _unzstd(view, decoded_bytes_max)
    else:
        return refuse("unsupported_encoding", "Content-Encoding must be one of gzip, deflate, zstd")
    return _collect(pieces, decoded_bytes_max)


def _encodings(content_encoding: bytes | None) -> bytes:
    """Return the header's list in lower case, without the members that stand for no encoding."""
    members = [each.strip(b" \t") for each in (content_encoding or b"").lower().split(b",")]
    return b",".join([each for each in members if each not in _NO_ENCODINGS])


def _collect(pieces: Iterator[bytes], decoded_bytes_max: int) -> bytes | Refusal:
    out = BytesIO()  # hands its buffer over without a copy
    try:
        for piece in pieces:
            if out.tell() + len(piece) > decoded_bytes_max:
                return _too_large(decoded_bytes_max)
            out.write(piece)
    except _DecodeError as error:
        return error.refusal
    except (zlib.error, zstandard.ZstdError):
        return refuse("invalid_encoding", "the body is not what its Content-Encoding says")
    return out.getvalue()


def _too_large(decoded_bytes_max: int) -> Refusal:
    return refuse("too_large", f"the decoded body is larger than {decoded_bytes_max} bytes")


def _inflate(view: memoryview, wbits: int, *, many_members: bool) -> Iterator[bytes]:
    at = 0
    for _ in range(PARTS_MAX):
        engine = zlib.decompressobj(wbits)
        while not engine.eof:
            step = view[at : at + INPUT_STEP_BYTES]
            piece = engine.decompress(step, PIECE_BYTES)
            at += len(step) - len(engine.unconsumed_tail) - len(engine.unused_data)
            if not step and not piece and not engine.eof:
                raise _DecodeError("invalid_encoding", "the compressed body is cut short")
            yield piece
        if at == len(view):
            return
        if not many_members:
            raise _DecodeError("invalid_encoding", "there are bytes after the compressed body")
    raise _too_many_parts()


def _has_zlib_header(view: memoryview) -> bool:
    """Look for RFC 1950's method 8 and multiple of 31. A raw body that begins so is a stored block with odd padding."""
    return len(view) >= 2 and view[0] & 0x0F == 8 and (view[0] << 8 | view[1]) % 31 == 0


def _unzstd(view: memoryview, decoded_bytes_max: int) -> Iterator[bytes]:
    _require_whole_frames(view, decoded_bytes_max)
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX)
    with decompressor.stream_reader(view, read_across_frames=True, closefd=False) as reader:
        while piece := reader.read(PIECE_BYTES):
            yield piece


def _require_whole_frames(view: memoryview, decoded_bytes_max: int) -> None:
    """Walk the frames of RFC 8878 by their lengths: the stream reader takes a truncated body for a complete one."""
    at = parts = 0
    while at < len(view) or not parts:
        at, blocks = _frame_end(view, at, decoded_bytes_max)
        parts += 1 + blocks
        if parts > PARTS_MAX:
            raise _too_many_parts()
    if at != len(view):
        raise _DecodeError("invalid_encoding", "the compressed body is cut short")


def _frame_end(view: memoryview, at: int, decoded_bytes_max: int) -> tuple[int, int]:
    """Return where the frame at `at` ends, perhaps beyond the body, and how many blocks it has."""
    magic = int.from_bytes(view[at : at + 4], "little")
    if magic & 0xFFFFFFF0 == 0x184D2A50:  # a skippable frame
        return at + 8 + int.from_bytes(view[at + 4 : at + 8], "little"), 0
    head = zstandard.get_frame_parameters(view[at : at + 18])
    if head.content_size != zstandard.CONTENTSIZE_UNKNOWN and head.content_size > decoded_bytes_max:
        raise _DecodeError("too_large", f"the decoded body is larger than {decoded_bytes_max} bytes")
    start = at + zstandard.frame_header_size(view[at : at + 18])
    end, blocks = _blocks_end(view, start)
    return end + (4 if head.has_checksum else 0), blocks


def _blocks_end(view: memoryview, at: int) -> tuple[int, int]:
    from_bytes, size = int.from_bytes, len(view)
    for blocks in range(1, PARTS_MAX + 1):
        head = from_bytes(view[at : at + 3], "little")
        at += 3 + (1 if head & 6 == 2 else head >> 3)  # a run is one byte, however long
        if head & 1 or at > size:
            return (at if head & 1 else size + 1), blocks
    raise _too_many_parts()


def _too_many_parts() -> _DecodeError:
    return _DecodeError("too_large", f"the compressed body has more than {PARTS_MAX} parts")
