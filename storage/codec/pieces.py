"""Values in pieces: a value that is too large for a page that others share, and too small to fill pages of its own.

LMDB puts several values into one page while each is small, and rounds a larger one up to whole pages. Between the two a
value is cut into pieces of nearly one size, of which three fill a page. The first is put under the record's key, each
further one under that key and a byte that counts. Whoever reads joins what is there: the checksums of a value tell
whether a piece is missing.
"""

from collections.abc import Iterator

from storage.codec.records import KEY_BYTES

SHARED_PAGE_BYTES_MAX = 2022
"""Of a value beside which LMDB puts others into a page of 4 KiB; a larger one gets pages of its own."""
PIECE_BYTES_MAX = 1340
"""Three fill a page of 4 KiB."""
IN_PIECES_BYTES_MAX = 16384
"""Of a value in pieces: a larger one wastes little of its pages, and each piece is another call of LMDB."""


def in_pieces(key: bytes, value: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values that a value is put as, in ascending order."""
    count = pieces_count(len(value))
    step = -(-len(value) // count)
    for place in range(count):
        yield piece_key(key, place), value[place * step : (place + 1) * step]


def pieces_count(size: int) -> int:
    """Return in how many pieces a value of so many bytes is put."""
    return -(-size // PIECE_BYTES_MAX) if SHARED_PAGE_BYTES_MAX < size <= IN_PIECES_BYTES_MAX else 1


PIECES_MAX = pieces_count(IN_PIECES_BYTES_MAX)


def piece_key(key: bytes, place: int) -> bytes:
    """Return the key of a piece of the value with this key."""
    return key + bytes([place]) if place else key


def record_key(key: bytes) -> bytes:
    """Return the key of the record that the piece with this key belongs to."""
    return key[:KEY_BYTES] if len(key) == KEY_BYTES + 1 else key
