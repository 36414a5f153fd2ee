"""The pages of an LMDB file that hold nothing any more, and the parts of pages that do not: where they are.

LMDB frees a page without touching it, and writes a page with whatever was in its memory between the end of the list of
nodes and the first node, and behind a value that does not fill its page. The layout is that of LMDB 0.9 (`mdb.c`:
MDB_page, MDB_node, MDB_db, MDB_meta), in the byte order of the machine; the functions here only read.
"""

import os
import struct
from collections.abc import Callable, Iterator, Sequence

import numpy
from numpy.typing import NDArray

from storage.errors import StoreDamaged
from storage.frozen import frozen

HEAD_BYTES = 16
"""Of each page: its number, and where its nodes are."""
_HEAD = struct.Struct("=QHHHH")
"""Number, padding, flags, lower and upper bound of what is not used; of an overflow page the last two are one: how many
pages it has."""
_DB = struct.Struct("=IHHQQQQQ")
"""Padding, flags, depth, three counts of pages, entries, root."""
_META = struct.Struct("=IIQQ")
_TAIL = struct.Struct("=QQ")
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF = 1, 2
_NODE_BYTES = 8
_BIG, _SUB = 1, 2
"""Flags of a node in a leaf: its value has pages of its own; it is a database."""
_NO_PAGE = 2**64 - 1
_BATCH_PAGES = 64
"""Read and looked at together."""

Pages = NDArray[numpy.uint8]
Hole = tuple[int, int]
"""Offset in the file and length of bytes that hold nothing and are not zero."""


@frozen
class Meta:
    """One commit, as its meta page says."""

    txnid: int
    free_root: int | None
    """Of the list of free pages."""
    main_root: int | None
    last_page: int


class PageFile:
    """An open `data.mdb`. What is read holds while a transaction of the commit is open, of whichever kind."""

    def __init__(self, file: int, page_bytes: int, go_on: Callable[[], None] = lambda: None) -> None:
        """`go_on` is called before some pages are read, again and again; what it raises ends that."""
        self.file = file
        self.page_bytes = page_bytes
        self._go_on = go_on
        self._columns = numpy.arange(page_bytes, dtype="u2")

    def newest(self) -> Meta:
        """Return the newest commit."""
        return max((self._meta(page) for page in (0, 1)), key=lambda meta: meta.txnid)

    def commit(self, txnid: int) -> Meta | None:
        """Return the commit with this number; None if there were two since."""
        return next((meta for meta in (self._meta(0), self._meta(1)) if meta.txnid == txnid), None)

    def _meta(self, page: int) -> Meta:
        content = os.pread(self.file, HEAD_BYTES + _META.size + 2 * _DB.size + _TAIL.size, page * self.page_bytes)
        try:
            magic, version, *_ = _META.unpack_from(content, HEAD_BYTES)
            *_, free_root = _DB.unpack_from(content, HEAD_BYTES + _META.size)
            *_, main_root = _DB.unpack_from(content, HEAD_BYTES + _META.size + _DB.size)
            last_page, txnid = _TAIL.unpack_from(content, HEAD_BYTES + _META.size + 2 * _DB.size)
        except struct.error as error:
            raise StoreDamaged(f"data.mdb: the meta page {page} is cut off") from error
        if (magic, version) != (_MAGIC, _VERSION):
            raise StoreDamaged(f"data.mdb: the meta page {page} is not one of LMDB {_VERSION}")
        return Meta(txnid, _root(free_root), _root(main_root), last_page)

    def holes(self, meta: Meta) -> Iterator[Hole]:
        """Yield what holds nothing inside the pages that the commit uses."""
        if meta.free_root is not None:
            yield from self._holes_in_tree(meta.free_root)
        if meta.main_root is not None:
            yield from self._holes_in_tree(meta.main_root)
            for root in self._databases(meta.main_root):
                yield from self._holes_in_tree(root)

    def free_pages(self, meta: Meta, before: int) -> NDArray[numpy.uint64]:
        """Return the pages that were freed by commits before this one, ascending."""
        found: list[NDArray[numpy.uint64]] = []
        for leaf in self._leaves(meta.free_root):
            for at, flags, size in _nodes(leaf):
                key_at = at + _NODE_BYTES
                if int.from_bytes(leaf[key_at : key_at + 8].tobytes(), "little") < before:
                    found.append(numpy.frombuffer(self._value(leaf, key_at + 8, flags, size), "=u8")[1:])
        return numpy.sort(numpy.concatenate(found)) if found else numpy.zeros(0, "u8")

    def pages_in(self, first: int, count: int) -> Pages:
        """Return so many pages from this one on, as far as the file has them, one a row."""
        self._go_on()
        content = os.pread(self.file, count * self.page_bytes, first * self.page_bytes)
        return numpy.frombuffer(content[: len(content) // self.page_bytes * self.page_bytes], "u1").reshape(
            -1, self.page_bytes
        )

    def _databases(self, main_root: int) -> Iterator[int]:
        """Yield the roots of the databases that the main one names."""
        for leaf in self._leaves(main_root):
            for at, flags, _ in _nodes(leaf):
                if flags & _SUB:
                    key_at, key_bytes = at + _NODE_BYTES, _key_bytes(leaf, at)
                    *_, root = _DB.unpack(leaf[key_at + key_bytes : key_at + key_bytes + _DB.size].tobytes())
                    if root != _NO_PAGE:
                        yield root

    def _leaves(self, root: int | None) -> Iterator[Pages]:
        """Yield the leaves of a tree, one by one."""
        for _, pages in () if root is None else self._tree(root):
            yield from (page for page in pages if _flags(page) & _LEAF)

    def _tree(self, root: int) -> Iterator[tuple[NDArray[numpy.uint64], Pages]]:
        """Yield all pages of a tree, with their numbers, some at a time."""
        waiting = [numpy.array([root], "u8")]
        while waiting:
            numbers = waiting.pop()
            if len(numbers) > _BATCH_PAGES:
                waiting.append(numbers[_BATCH_PAGES:])
                numbers = numbers[:_BATCH_PAGES]
            pages = self._read(numbers)
            yield numbers, pages
            waiting += [_children(page) for page in pages if _flags(page) & _BRANCH]

    def _read(self, numbers: NDArray[numpy.uint64]) -> Pages:
        """Return these pages; neighbours are read together."""
        found = []
        breaks = numpy.flatnonzero(numpy.diff(numbers) != 1) + 1
        for run in numpy.split(numbers, breaks):
            pages = self.pages_in(int(run[0]), len(run))
            if len(pages) < len(run) or (pages[:, :8].view("=u8")[:, 0] != run).any():
                raise StoreDamaged(f"data.mdb: of the pages {run[0]} to {run[-1]} one is another, or cut off")
            found.append(pages)
        return found[0] if len(found) == 1 else numpy.concatenate(found)

    def _holes_in_tree(self, root: int) -> Iterator[Hole]:
        for numbers, pages in self._tree(root):
            bounds = pages[:, 12:16].view("=u2")
            unused = (self._columns >= bounds[:, :1]) & (self._columns < bounds[:, 1:])
            for at in numpy.flatnonzero((unused & (pages != 0)).any(axis=1)).tolist():
                lower, upper = bounds[at].tolist()
                yield int(numbers[at]) * self.page_bytes + lower, upper - lower
            for page in pages:
                if _flags(page) & _LEAF:
                    yield from self._tails(page)

    def _tails(self, leaf: Pages) -> Iterator[Hole]:
        """Yield what is behind the values of a leaf that have one page each. Of longer ones LMDB clears the last."""
        for at, flags, size in _nodes(leaf, _BIG):
            if flags & _BIG and HEAD_BYTES + size < self.page_bytes:
                offset = self._overflow(leaf, at + _NODE_BYTES + _key_bytes(leaf, at)) * self.page_bytes
                start, stop = offset + HEAD_BYTES + size, offset + self.page_bytes
                if any(os.pread(self.file, stop - start, start)):
                    yield start, stop - start

    def _value(self, leaf: Pages, at: int, flags: int, size: int) -> bytes:
        if flags & _BIG:
            return os.pread(self.file, size, self._overflow(leaf, at) * self.page_bytes + HEAD_BYTES)
        return leaf[at : at + size].tobytes()

    def _overflow(self, leaf: Pages, at: int) -> int:
        return int.from_bytes(leaf[at : at + 8].tobytes(), "little")


def runs(numbers: NDArray[numpy.uint64]) -> Iterator[tuple[int, int]]:
    """Yield first number and length of each run of neighbours among ascending numbers."""
    for run in numpy.split(numbers, numpy.flatnonzero(numpy.diff(numbers) != 1) + 1) if len(numbers) else ():
        yield int(run[0]), len(run)


def _root(page: int) -> int | None:
    return None if page == _NO_PAGE else page


def _flags(page: Pages) -> int:
    return int(page[10]) | int(page[11]) << 8


def _offsets(page: Pages) -> NDArray[numpy.uint16]:
    lower = int(page[12]) | int(page[13]) << 8
    return page[HEAD_BYTES:lower].view("=u2")


def _children(branch: Pages) -> NDArray[numpy.uint64]:
    """Return the pages below a branch. Their numbers have 48 bits, of which the last are where a leaf has flags."""
    words = branch.view("=u2")
    at = _offsets(branch).astype("i8") // 2
    low, middle, high = (words[at + place].astype("u8") for place in range(3))
    found: NDArray[numpy.uint64] = low | middle << numpy.uint64(16) | high << numpy.uint64(32)
    return found


def _nodes(leaf: Pages, wanted: int = 0) -> Sequence[tuple[int, int, int]]:
    """Return offset, flags and size of the value of each node; of those with these flags, if there are any."""
    words = leaf.view("=u2")
    at = _offsets(leaf).astype("i8")
    flags = words[at // 2 + 2]
    if wanted:
        at, flags = at[(flags & wanted) != 0], flags[(flags & wanted) != 0]
    sizes = words[at // 2].astype("u4") | words[at // 2 + 1].astype("u4") << 16
    return list(zip(at.tolist(), flags.tolist(), sizes.tolist(), strict=True))


def _key_bytes(leaf: Pages, at: int) -> int:
    return int(leaf[at + 6]) | int(leaf[at + 7]) << 8
