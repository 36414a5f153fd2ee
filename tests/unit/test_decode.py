"""Decoding: every encoding of the contract, nothing past the limit, nothing cut short taken for whole."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import zstandard

from server.base.refusal import Refusal
from server.intake import decode as module
from server.intake.decode import decode

TEXT = b'{"inbound_event_id":"evt_1","payload":{"a":[1,2,3]}}' * 40
LIMIT = 1 << 20


def raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


def streamed_zstd(data: bytes) -> bytes:
    """Without a content size, with a checksum, in many blocks, as a streaming sender writes it."""
    engine = zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compressobj()
    parts = [engine.compress(data[at : at + 500]) + engine.flush(1) for at in range(0, len(data), 500)]
    return b"".join(parts) + engine.flush()


def skippable(data: bytes) -> bytes:
    return b"\x5a\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


ENCODERS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "gzip": (b"gzip", gzip.compress),
    "x-gzip": (b"X-GZIP", gzip.compress),
    "zlib": (b"deflate", zlib.compress),
    "raw deflate": (b"deflate", raw_deflate),
    "zstd": (b" zstd ", zstandard.compress),
    "zstd streamed": (b"zstd", streamed_zstd),
}
each_encoder = pytest.mark.parametrize(("name", "encoder"), ENCODERS.values(), ids=ENCODERS.keys())


def code(result: bytes | Refusal) -> str:
    return result.code if isinstance(result, Refusal) else "decoded"


@pytest.mark.parametrize(
    "name", [None, b"", b"identity", b" Identity ", b"utf-8", b"UTF8", b"Utf-8, identity", b",\t,", b"identity,,utf8 "]
)
def test_an_unencoded_body_is_itself(name: bytes | None) -> None:
    """A body without an encoding is itself, under the same limit; a charset is none."""
    assert decode(TEXT, name, len(TEXT)) == TEXT
    assert code(decode(TEXT, name, len(TEXT) - 1)) == "too_large"


@each_encoder
@pytest.mark.parametrize("data", [b"", b"x", TEXT, bytes(300_000)])
def test_round_trip_at_exactly_the_limit(name: bytes, encoder: Callable[[bytes], bytes], data: bytes) -> None:
    """What fits to the byte is decoded, from any kind of buffer; one byte more is too large."""
    packed = encoder(data)
    for body in (packed, bytearray(packed), memoryview(packed)):
        assert decode(body, name, len(data)) == data
    if data:
        assert code(decode(packed, name, len(data) - 1)) == "too_large"


@each_encoder
def test_a_cut_body_is_never_whole(name: bytes, encoder: Callable[[bytes], bytes]) -> None:
    """No prefix of a compressed body is taken for a whole one."""
    packed = encoder(TEXT)
    for size in range(len(packed)):
        assert code(decode(packed[:size], name, LIMIT)) == "invalid_encoding", size


@each_encoder
@pytest.mark.parametrize("junk", [b"x", b"\0", b"\0" * 20, b"{}", b"\x1f\x8b", b"(\xb5/\xfd"])
def test_trailing_bytes_are_an_error(name: bytes, encoder: Callable[[bytes], bytes], junk: bytes) -> None:
    """Bytes after the compressed body are an error, however like a beginning they look."""
    assert code(decode(encoder(TEXT) + junk, name, LIMIT)) == "invalid_encoding"


@pytest.mark.parametrize("name", [b"gzip", b"deflate", b"zstd"])
@pytest.mark.parametrize("body", [b"{}", b"\x1f\x8b", b"\x78\x9c\xff\xff", b"\xff" * 40])
def test_another_encoding_is_an_error(name: bytes, body: bytes) -> None:
    """What is not in the encoding that the head names is an error of the encoding."""
    assert code(decode(body, name, LIMIT)) == "invalid_encoding"


@each_encoder
def test_a_damaged_checksum_is_seen(name: bytes, encoder: Callable[[bytes], bytes]) -> None:
    """A damaged checksum is seen, where the encoding has one."""
    packed = bytearray(encoder(TEXT))
    packed[-1] ^= 1
    if encoder not in (raw_deflate, zstandard.compress):
        assert code(decode(packed, name, LIMIT)) == "invalid_encoding"


def test_several_members_and_frames() -> None:
    """gzip members and zstd frames follow each other as one body; skippable frames say nothing."""
    assert decode(gzip.compress(b"[1") + gzip.compress(b"") + gzip.compress(b"]"), b"gzip", LIMIT) == b"[1]"
    frames = (streamed_zstd(b"[1"), skippable(b"note"), zstandard.compress(b""), zstandard.compress(b"]"))
    assert decode(b"".join(frames), b"zstd", LIMIT) == b"[1]"
    assert decode(skippable(b""), b"zstd", LIMIT) == b""
    assert code(decode(zlib.compress(b"[") + zlib.compress(b"]"), b"deflate", LIMIT)) == "invalid_encoding"


@pytest.mark.parametrize("name", [b"identity, gzip", b"GZIP,", b" , gzip,utf-8", b"utf8 ,\tgzip"])
def test_no_encoding_beside_one_is_nothing(name: bytes) -> None:
    """What stands for no encoding, and an empty member of the list, change nothing beside an encoding."""
    assert decode(gzip.compress(TEXT), name, LIMIT) == TEXT


@pytest.mark.parametrize("name", [b"br", b"gzip, gzip", b"zstd, gzip", b"utf-16", b"\xff", b"*", b"utf-8 gzip"])
def test_unknown_or_stacked_encodings_are_unsupported(name: bytes) -> None:
    """One encoding of the list at a time; others are named as unsupported."""
    assert code(decode(TEXT, name, LIMIT)) == "unsupported_encoding"


@pytest.mark.parametrize("name", [b"gzip", b"deflate", b"zstd"])
def test_bomb_stays_within_the_limit(name: bytes) -> None:
    """A small body that unpacks to 64 MiB never holds more than the limit, an eighth of growth and a few pieces."""
    engines: dict[bytes, Any] = {
        b"gzip": zlib.compressobj(9, wbits=31),
        b"deflate": zlib.compressobj(9),
        b"zstd": zstandard.ZstdCompressor(write_content_size=False).compressobj(),
    }
    engine = engines[name]
    bomb = b"".join([engine.compress(bytes(1 << 20)) for _ in range(64)]) + engine.flush()
    assert len(bomb) < LIMIT
    tracemalloc.start()
    try:
        assert code(decode(bomb, name, LIMIT)) == "too_large"
        assert tracemalloc.get_traced_memory()[1] < LIMIT * 9 // 8 + 4 * module.PIECE_BYTES
    finally:
        tracemalloc.stop()


def test_zstd_claims_are_not_believed() -> None:
    """A frame that claims a huge content or window costs nothing: it is refused at its head."""
    head = b"(\xb5/\xfd"
    assert code(decode(head + b"\xe0" + b"\xff" * 7 + b"\x0f" + b"\1\0\0", b"zstd", LIMIT)) == "too_large"
    wide = head + b"\0" + bytes([(24 - 10) << 3]) + b"\1\0\0"
    assert code(decode(wide, b"zstd", LIMIT)) == "invalid_encoding"
    allowed = head + b"\0" + bytes([(23 - 10) << 3]) + b"\1\0\0"
    assert module.ZSTD_WINDOW_BYTES_MAX == 1 << 23
    assert decode(allowed, b"zstd", LIMIT) == b""


EMPTY_BLOCK, LAST_BLOCK = b"\0\0\0", b"\1\0\0"
ZSTD_HEAD = b"(\xb5/\xfd\0X"


@pytest.mark.parametrize(
    ("name", "body_of"),
    [
        (b"gzip", lambda parts: gzip.compress(b"") * parts),
        (b"zstd", lambda parts: skippable(b"") * parts),
        (b"zstd", lambda parts: ZSTD_HEAD + EMPTY_BLOCK * (parts - 2) + LAST_BLOCK),
        (b"zstd", lambda parts: (ZSTD_HEAD + LAST_BLOCK) * (parts // 2) + skippable(b"") * (parts % 2)),
    ],
)
def test_frames_are_limited_in_number(name: bytes, body_of: Callable[[int], bytes]) -> None:
    """Members, frames and blocks are limited in number, since each costs time and may hold nothing."""
    assert decode(body_of(module.PARTS_MAX), name, LIMIT) == b""
    assert code(decode(body_of(module.PARTS_MAX + 1), name, LIMIT)) == "too_large"
