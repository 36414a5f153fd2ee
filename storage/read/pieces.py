"""Reads values that are stored in pieces."""

from collections.abc import Iterator
from typing import Any

from storage.codec.pieces import PIECE_BYTES_MAX, PIECES_MAX, piece_key
from storage.codec.records import key_of


def pieces_of(txn: Any, database: Any, first: int) -> Iterator[tuple[bytes, Any]]:
    """Yield key and content of each piece of the value with this key; nothing if there is none."""
    for place in range(PIECES_MAX):
        key = piece_key(key_of(first), place)
        piece = txn.get(key, db=database)
        if piece is None:
            return
        yield key, piece
        if place == 0 and len(piece) > PIECE_BYTES_MAX:
            return
