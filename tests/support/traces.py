"""What is left of events in the files of a store: texts, and pieces of what the store has compressed them to."""

from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

from storage.lmdb_store.environment import Store
from storage.read.pieces import pieces_of
from storage.read.snapshot import Snapshots

PIECE_BYTES = 24
"""So long that it is nowhere by chance."""


def traces_of(path: Path, numbers: Collection[int]) -> set[bytes]:
    """Return pieces of the stored bodies of the records that hold these events, and of all results."""
    found: set[bytes] = set()
    with closing(Store.open(path, mode="read")) as store:
        with Snapshots(store).take() as snapshot:
            firsts = {head.first for number in numbers if (head := snapshot.head_of(number)) is not None}
        with store.read_transaction() as txn:
            for first in firsts:
                found.update(_pieces(b"".join(bytes(piece) for _, piece in pieces_of(txn, store.bodies, first))))
            for _, value in txn.cursor(db=store.results):
                found.update(_pieces(bytes(value)[64:]))
    return found


def _pieces(content: bytes) -> Iterator[bytes]:
    for at in range(PIECE_BYTES, len(content) - PIECE_BYTES, PIECE_BYTES):
        yield content[at : at + PIECE_BYTES]


def left_in(path: Path, texts: Collection[str], traces: Collection[bytes] = ()) -> list[str]:
    """Return the files of this directory that have any of these texts in them, or of these pieces unless a value that
    the store holds now has it, too: what others have said."""
    alive = _values(path)
    wanted = {text.encode() for text in texts} | {trace for trace in traces if trace not in alive}
    return sorted(
        f"{each.name} at {content.find(trace)}"
        for each in path.rglob("*")
        if each.is_file()
        for content in [each.read_bytes()]
        for trace in wanted
        if trace in content
    )


def _values(path: Path) -> bytes:
    with closing(Store.open(path, mode="read")) as store, store.read_transaction() as txn:
        return b"".join(bytes(value) for db in (store.bodies, store.results) for _, value in txn.cursor(db=db))
