"""Records of one read transaction, by database and key; what `meta` says; and how many records were read.

Every record is checked, and what is returned is a copy, but for what says that it is a buffer.
"""

from collections.abc import Iterator
from typing import Any, Literal

from storage.codec.fronts import Kind
from storage.codec.pieces import piece_key, pieces_count
from storage.codec.records import (
    ERASURE_KEY,
    REPLAY_PREFIX,
    TIME_KEY,
    TOTALS_PREFIX,
    damaged,
    decode_erasure,
    decode_replay_record,
    decode_time,
    decode_totals,
    key_of,
    number_of,
)
from storage.lmdb_store.environment import Store
from storage.read import fronts
from storage.read.index import IndexReader
from storage.read.keys import ascending
from storage.read.pieces import pieces_of
from storage.statuses import Totals
from storage.store_time import StoreTime


class RecordReader:
    """Finds records and counts them; what they say of events is for `Snapshot`. For use inside the transaction only."""

    def __init__(self, store: Store, txn: Any) -> None:
        self._store = store
        self._txn = txn
        self._records = 0
        """Read so far."""
        self._fronts: dict[Kind, int] = {}
        self._index: IndexReader | None = None

    def stored(self, database: Literal["facts", "bodies"], first: int) -> tuple[list[bytes], int]:
        """Return the keys under which the value with this key is stored, and its bytes; no key if there is none."""
        found = list(pieces_of(self._txn, getattr(self._store, database), first))
        return [key for key, _ in found], sum(len(piece) for _, piece in found)

    def joined(self, database: Literal["facts", "bodies"], first: int) -> bytes:
        """Return a whole value, of all its pieces."""
        found = [bytes(piece) for _, piece in pieces_of(self._txn, getattr(self._store, database), first)]
        self._records += len(found)
        if not found:
            raise damaged(database.encode(), key_of(first), "there is no such record")
        return b"".join(found)

    def check_pieces(self, database: Literal["facts", "bodies"], first: int) -> None:
        """Raise StoreDamaged if there are more pieces than the value with this key has."""
        count = pieces_count(len(self.joined(database, first)))
        if self._txn.get(piece_key(key_of(first), count), db=getattr(self._store, database)) is not None:
            raise damaged(database.encode(), key_of(first), f"the piece {count} is one too many")

    @property
    def index(self) -> IndexReader:
        """The look-up index."""
        if self._index is None:
            self._index = IndexReader(self._txn, self._store, self._read_one)
        return self._index

    def close(self) -> None:
        """Let go of what refers back to it: a cycle would keep its place among the readers until it is collected."""
        self._index = None

    def _read_one(self) -> None:
        self._records += 1

    def front(self, kind: Kind) -> int:
        """Return the number before which all of this kind has left but what is kept; 0 if nothing has."""
        if kind not in self._fronts:
            self._fronts[kind] = fronts.front(self._txn, self._store.meta, kind)
        return self._fronts[kind]

    def left_at(self, kind: Kind, number: int) -> int:
        """Return by when what has this number had left, in ms of the wall clock; 0 if the front has not passed it."""
        return fronts.left_at(self._txn, self._store.meta, kind, number)

    def bytes_of(self, *databases: str) -> int:
        """Return the bytes of the pages of these databases."""
        return self._store.bytes_of(self._txn, *databases)

    def totals(self) -> dict[str, Totals]:
        """Return the totals of every source."""
        found: dict[str, Totals] = {}
        cursor = self._txn.cursor(db=self._store.meta)
        more = cursor.set_range(TOTALS_PREFIX)
        while more and (key := bytes(cursor.key())).startswith(TOTALS_PREFIX):
            found[key[len(TOTALS_PREFIX) :].decode()] = decode_totals(key, bytes(cursor.value()))
            more = cursor.next()
        return found

    def replays(self) -> dict[str, bytes]:
        """Return the record of every replay, by its id."""
        found: dict[str, bytes] = {}
        cursor = self._txn.cursor(db=self._store.meta)
        more = cursor.set_range(REPLAY_PREFIX)
        while more and (key := bytes(cursor.key())).startswith(REPLAY_PREFIX):
            found[key[len(REPLAY_PREFIX) :].decode()] = decode_replay_record(key, bytes(cursor.value()))
            more = cursor.next()
        return found

    def erasure_since_ms(self) -> int:
        """Return since when something forgotten is to be overwritten, in ms of the wall clock; 0 if nothing is."""
        found = self._txn.get(ERASURE_KEY, db=self._store.meta)
        return 0 if found is None else decode_erasure(bytes(found))

    def store_time(self) -> StoreTime | None:
        """Return the store's time as it was written last; None before the first group."""
        found = self._txn.get(TIME_KEY, db=self._store.meta)
        return None if found is None else decode_time(bytes(found))

    def first_numbers(
        self, database: Literal["facts", "bodies", "ids", "statuses", "results", "body_digests"], start: int
    ) -> Iterator[int]:
        """Yield the keys of a database from `start` on; values are not touched. Does not look at `exhausted`."""
        return ascending(self._txn.cursor(db=getattr(self._store, database)), database, start)

    def last_number(self, database: Literal["ids", "results"]) -> int | None:
        """Return the last key of a database; None if it is empty."""
        cursor = self._txn.cursor(db=getattr(self._store, database))
        return number_of(database.encode(), bytes(cursor.key())) if cursor.last() else None

    def _value(self, name: bytes, database: Any, number: int) -> bytes:
        return bytes(self._buffer(name, database, number))

    def _buffer(self, name: bytes, database: Any, number: int) -> Any:
        self._records += 1
        value = self._txn.get(key_of(number), db=database)
        if value is None:
            raise damaged(name, key_of(number), "there is no such record")
        return value
