"""Walks the keys of databases that are numbers, with the pieces of values between them."""

from collections.abc import Iterator
from typing import Any

from storage.codec.pieces import piece_key, record_key
from storage.codec.records import damaged, key_of, number_of


def seek(cursor: Any, number: int) -> bool:
    """Go to the record that may hold this number: the last one whose key is not greater, else the first one."""
    found = cursor.set_range(key_of(number))
    if found and bytes(cursor.key()) == key_of(number):
        return True
    if cursor.prev() if found else cursor.last():
        key = bytes(cursor.key())
        return record_key(key) == key or bool(cursor.set_key(record_key(key)))
    return bool(cursor.first())


def ascending(cursor: Any, database: str, start: int) -> Iterator[int]:
    """Yield the keys from `start` on; values are not touched. Raises StoreDamaged."""
    name = database.encode()
    found = cursor.set_range(key_of(start))
    last, pieces = b"", 0
    while found:
        key = bytes(cursor.key())
        if key <= last:  # pages that refer to one another in a circle would be walked for ever
            raise damaged(name, key, "the keys do not ascend")
        if pieces and database in {"facts", "bodies"} and key == piece_key(record_key(last), pieces):
            pieces += 1
        else:
            yield number_of(name, key)
            pieces = 1
        last = key
        found = cursor.next()
