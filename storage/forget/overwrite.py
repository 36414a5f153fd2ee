"""What was forgotten is overwritten in `data.mdb`, beside readers and a writer that go on.

Order of operations, once no record holds it any more:

1. The environment is opened anew: LMDB writes what its memory held into parts of pages that it does not use.
2. In one read transaction, whose pages nobody writes to: what holds nothing inside the pages in use (`clear_holes`),
   and which pages are free. From then on it is in none but these.
3. When no transaction, in whatever process, sees what was there before: those of them that are free still, a stretch in
   each of some write transactions, during which nobody takes one (`overwrite_free`). The others were written since.
4. All of it is flushed, and then the note that it is to be done is removed.

A process that dies anywhere leaves the note, and the next begins anew.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy
from numpy.typing import NDArray

from storage import sync
from storage.errors import StoreError
from storage.forget.pages import PageFile, runs
from storage.frozen import frozen
from storage.lmdb_store.environment import Store

STRETCH_PAGES = 4096
"""Overwritten in one write transaction: 16 MiB."""


@frozen
class Free:
    """The pages that were free at a commit."""

    txnid: int
    pages: NDArray[numpy.uint64]
    """Those of them that do not hold zeros, ascending."""

    def stretches(self) -> Iterator[Sequence[int]]:
        """Yield them, so many at a time."""
        for at in range(0, len(self.pages), STRETCH_PAGES):
            yield self.pages[at : at + STRETCH_PAGES].tolist()


@contextmanager
def _opened(store: Store, go_on: Callable[[], None] = lambda: None) -> Iterator[PageFile]:
    file = os.open(store.path / "data.mdb", os.O_RDWR | os.O_CLOEXEC)
    try:
        yield PageFile(file, store.page_bytes, go_on)
    finally:
        os.close(file)


def clear_holes(store: Store, go_on: Callable[[], None] = lambda: None) -> Free:
    """Overwrite what holds nothing inside the pages in use; return those that are free. `go_on` is called again and
    again: what it raises ends this."""
    while True:
        with store.read_transaction() as txn, _opened(store, go_on) as pages:
            meta = pages.commit(txn.id())
            if meta is None:  # two commits since it began
                continue
            for offset, size in pages.holes(meta):
                sync.write_at(pages.file, bytes(size), offset)
            free = pages.free_pages(meta, meta.txnid + 1)
            behind = numpy.arange(meta.last_page + 1, os.fstat(pages.file).st_size // store.page_bytes, dtype="u8")
            return Free(meta.txnid, _not_zero(pages, numpy.concatenate([free, behind])))


def check_no_old_store(path: Path) -> None:
    """Raise StoreError if a file of an older format, kept by a conversion, lies beside the store in this directory."""
    old = sorted(each.name for each in path.glob("*.format-*"))
    if old:
        raise StoreError(
            f"{old[0]} in {path} still has everything: remove it by `tidegate migrate --discard-old` first"
        )


def may_overwrite(store: Store, free: Free) -> bool:
    """Return whether no transaction sees any more what was there before these pages were free."""
    store.reader_check()
    return store.oldest_read() > free.txnid


def overwrite_free(store: Store, wanted: Sequence[int]) -> None:
    """Overwrite those of these pages that are free; call in a write transaction that has changed nothing yet.

    Raises StoreError.
    """
    try:
        _overwrite_free(store, wanted)
    except OSError as error:
        raise StoreError(f"what was forgotten cannot be overwritten: {error.strerror}") from error


def _overwrite_free(store: Store, wanted: Sequence[int]) -> None:
    with _opened(store) as pages:
        meta = pages.newest()
        free = pages.free_pages(meta, store.oldest_read())
        behind = numpy.arange(meta.last_page + 1, os.fstat(pages.file).st_size // store.page_bytes, dtype="u8")
        for first, count in runs(numpy.intersect1d(numpy.asarray(wanted, "u8"), numpy.concatenate([free, behind]))):
            sync.write_at(pages.file, bytes(count * store.page_bytes), first * store.page_bytes)


def flush_pages(store: Store) -> None:
    """Return when all of it is on the disk."""
    with _opened(store) as pages:
        sync.flush_data(pages.file)


def _not_zero(pages: PageFile, numbers: NDArray[numpy.uint64]) -> NDArray[numpy.uint64]:
    found = []
    for first, count in runs(numbers):
        for at in range(first, first + count, STRETCH_PAGES):
            content = pages.pages_in(at, min(STRETCH_PAGES, first + count - at))
            found.append(numpy.flatnonzero(content.any(axis=1)).astype("u8") + numpy.uint64(at))
    return numpy.concatenate(found) if found else numpy.zeros(0, "u8")
