"""Chunked bodies: whole, in pieces, and malformed."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.http.chunked import CHUNK_LINE_BYTES_MAX, PIECES_MAX, TRAILER_BYTES_MAX, ChunkDecoder, MalformedChunks


def decoded(*pieces: bytes) -> tuple[bytes, bytes, bool]:
    """The body, what is left in the buffer, and whether the body is complete."""
    decoder, buffer, body = ChunkDecoder(), bytearray(), b""
    for piece in pieces:
        buffer += piece
        body += decoder.decode(buffer)
        while decoder.has_more:
            body += decoder.decode(buffer)
    return body, bytes(buffer), decoder.done


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=50), max_size=5),
    cuts=st.lists(st.integers(0, 400), max_size=6),
    follows=st.binary(max_size=5),
)
def test_any_body_in_any_pieces(chunks: list[bytes], cuts: list[int], follows: bytes) -> None:
    """However it is cut, the body comes out, and what follows it is left."""
    sent = b"".join(b"%x;e=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nX: y\r\n\r\n" + follows
    edges = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    pieces = [sent[start:end] for start, end in itertools.pairwise(edges)]
    assert decoded(*pieces) == (b"".join(chunks), follows, True)


@pytest.mark.parametrize(
    "sent",
    [
        b"x\r\n",
        b"\r\n",
        b" 1\r\na\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b"1\na\n",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1;\x00\r\na\r\n",
        b"f" * 16 + b"\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n X: folded\r\n\r\n",
        b"0\r\n\n",
        b"1" * CHUNK_LINE_BYTES_MAX,
        b"1;" + b"x" * CHUNK_LINE_BYTES_MAX + b"\r\n",
        b"0\r\n" + b"X: y\r\n" * (TRAILER_BYTES_MAX // 6 + 1) + b"\r\n",
    ],
)
def test_malformed_chunks_are_refused(sent: bytes) -> None:
    """Refused, also where two parsers in a row might read it differently."""
    with pytest.raises(MalformedChunks):
        decoded(sent)


def test_tiny_chunks_are_taken_in_portions() -> None:
    """A body of very many chunks does not keep others waiting."""
    decoder, buffer = ChunkDecoder(), bytearray(b"1\r\nx\r\n" * (PIECES_MAX + 1))
    assert len(decoder.decode(buffer)) == PIECES_MAX
    assert decoder.has_more
    assert len(decoder.decode(buffer)) == 1
    assert not decoder.has_more
