"""Harm done to the files of a store, drawn from a seed: wrong bits, pages lost or misplaced, ends cut off."""

from collections.abc import Callable
from pathlib import Path
from random import Random

PAGE_BYTES = 4096
META_PAGES = 2
HEAD_BYTES = 160
"""Of a page: where its structure is."""

Harm = Callable[[bytearray, bytes, Random], str]
"""Changes the content of a file, beside what it was before; returns what was done."""


def harm(path: Path, older: Path, random: Random) -> str:
    """Do one kind of harm to one file of this store; return what was done. `older`: a copy of it from before."""
    file = path / random.choice(FILES)
    data = bytearray(file.read_bytes())
    before = (older / file.name).read_bytes() if (older / file.name).exists() else b""
    what = random.choice(HARMS)(data, before, random) if data else "nothing"
    file.write_bytes(data)
    return f"{file.name}: {what}"


def _bit(data: bytearray, before: bytes, random: Random) -> str:
    at = random.randrange(len(data))
    data[at] ^= 1 << random.randrange(8)
    return f"a bit of byte {at}"


def _bit_of_a_head(data: bytearray, before: bytes, random: Random) -> str:
    at = min(_page(data, random).start + random.randrange(HEAD_BYTES), len(data) - 1)
    data[at] ^= 1 << random.randrange(8)
    return f"a bit of byte {at % PAGE_BYTES} of page {at // PAGE_BYTES}"


def _random_bytes(data: bytearray, before: bytes, random: Random) -> str:
    at = random.randrange(len(data))
    own = slice(at, min(at + random.randint(1, 64), len(data)))
    data[own] = random.randbytes(own.stop - own.start)
    return f"random bytes {own.start} to {own.stop}"


def _zeroed(data: bytearray, before: bytes, random: Random) -> str:
    page = _page(data, random)
    data[page] = bytes(len(data[page]))
    return f"zeros from {page.start} to {page.stop}"


def _misplaced(data: bytearray, before: bytes, random: Random) -> str:
    """A page is written to the place of another one too."""
    source, target = _page(data, random), _page(data, random)
    data[target] = data[source].ljust(len(data[target]), b"\0")[: len(data[target])]
    return f"what is at {source.start} at {target.start} too"


def _lost(data: bytearray, before: bytes, random: Random) -> str:
    """A page, or the whole file, is what it was."""
    if not before:
        return "nothing"
    if not random.randrange(8):
        data[:] = before
        return "as it was"
    page = _page(bytearray(before), random)
    data[page] = before[page]
    return f"as it was from {page.start} to {page.stop}"


def _cut(data: bytearray, before: bytes, random: Random) -> str:
    size = random.choice((random.randrange(len(data)), _page(data, random).start))
    del data[size:]
    return f"cut to {size} bytes"


def _page(data: bytearray, random: Random) -> slice:
    pages = -(-len(data) // PAGE_BYTES)
    page = random.choice((random.randrange(min(META_PAGES, pages)), random.randrange(pages), random.randrange(pages)))
    return slice(page * PAGE_BYTES, min((page + 1) * PAGE_BYTES, len(data)))


HARMS: tuple[Harm, ...] = (_bit, _bit_of_a_head, _bit_of_a_head, _random_bytes, _zeroed, _misplaced, _lost, _cut)
FILES = ("data.mdb",) * 7 + ("journal", "journal", "in-hand", "lock.mdb", "writer.lock")
"""Each as often as it is worth. Files of the dedup index have no name, so nobody can harm them."""
