"""The fronts of retention, and when something left, from the marks in `meta`."""

from typing import Any

from storage.codec.fronts import Kind, decode_mark, front_key, front_prefix, number_in


def front(txn: Any, meta: Any, kind: Kind) -> int:
    """Return the number before which all of this kind has left but what is kept; 0 if nothing has."""
    newest = newest_marks(txn, meta, kind, 1)
    return newest[0][0] if newest else 0


def newest_marks(txn: Any, meta: Any, kind: Kind, count: int) -> list[tuple[int, int]]:
    """Return number and time of the newest marks, the newest first."""
    prefix = front_prefix(kind)
    cursor = txn.cursor(db=meta)
    found: list[tuple[int, int]] = []
    more = cursor.prev() if cursor.set_range(prefix + b"\xff" * 9) else cursor.last()
    while more and len(found) < count and (key := bytes(cursor.key())).startswith(prefix):
        found.append((number_in(key), decode_mark(key, bytes(cursor.value()))))
        more = cursor.prev()
    return found


def oldest_marks(txn: Any, meta: Any, kind: Kind, beyond: int) -> list[int]:
    """Return the numbers of the oldest marks, so many as there are more than `beyond`."""
    prefix = front_prefix(kind)
    cursor = txn.cursor(db=meta)
    found: list[int] = []
    more = cursor.set_range(prefix)
    while more and (key := bytes(cursor.key())).startswith(prefix):
        found.append(number_in(key))
        more = cursor.next()
    return found[: max(0, len(found) - beyond)]


def left_at(txn: Any, meta: Any, kind: Kind, number: int) -> int:
    """Return by when what has this number had left, in ms of the wall clock; 0 if the front has not passed it."""
    prefix = front_prefix(kind)
    cursor = txn.cursor(db=meta)
    if cursor.set_range(front_key(kind, number + 1)) and (key := bytes(cursor.key())).startswith(prefix):
        return decode_mark(key, bytes(cursor.value()))
    return 0
