"""The making of a store, which a power cut may interrupt anywhere: the next start makes it anew.

Order of operations, under the lock of the writer:

1. The directory, and `lock.mdb`.
2. `data.mdb`: its two meta pages; then databases, format and identity in one transaction.
3. The names are flushed: of the files, and of all directories that may have been made for them.
4. A line in `writer.lock` says that a store was made here, and is flushed.

Nothing is acknowledged before step 4. So without that line a data.mdb in which no transaction was committed is what an
interrupted making has left; with it, or if there is more in it, it is a loss.
"""

import os
import secrets
import struct
from pathlib import Path
from typing import Any, Literal

from storage import sync
from storage.codec.records import FORMAT, IDENTITY_BYTES, seal
from storage.errors import StoreDamaged, StoreMissing
from storage.lmdb_store import disk

ALWAYS_THERE = ("meta", "facts", "bodies", "ids", "statuses", "results")
DATABASES = (*ALWAYS_THERE, "body_digests", "index")
"""The others are not there in a store that was made before them, and that nobody has opened to write since."""
FORMAT_KEY = b"format"
IDENTITY_KEY = b"identity"
RETENTION_KEY = b"retention"
"""Of a store that was made when there was retention. From one without it nothing leaves unasked."""

_BORN_WITH_RETENTION = b"since it was made"

_MADE = b"a store was made here\n"

_PAGES_MAX = 16
"""More than making a store writes."""
_PAGE_BYTES_MAX = 32768
"""LMDB's pages are those of the machine, and no larger."""
_MAGIC = 0xBEEFC0DE
"""Of LMDB."""
_HEAD = struct.Struct("@NHHI")
"""Of a page of LMDB: number, padding, flags, bounds."""
_META = struct.Struct("@IIPN IHH5N IHH5N NN")
"""Of a meta page, after its head: magic, version, address, size of the map, two databases, last page, transaction."""


def check_data(path: Path, mode: Literal["write", "read"]) -> None:
    """See whether data.mdb is one to open. `write` removes what an interrupted making has left.

    Raises StoreDamaged if what it held is gone, StoreMissing if there is none, or none yet, to read.
    """
    data = path / "data.mdb"
    if not data.exists():
        _check_kept(path)
        if mode == "read":
            raise StoreMissing(f"there is no store in {path}")
    elif _is_made(path):
        if not data.stat().st_size:
            raise StoreDamaged(f"data.mdb in {path} is empty: what it held is gone")
    elif _is_unfinished(data):
        if mode == "read":
            raise StoreMissing(f"the store in {path} was not made to the end: the next start of the server makes it")
        data.unlink()


def initialise(env: Any) -> bool:
    """Make the databases and the format, in one transaction; return False, and do nothing, if there are any."""
    if env.stat()["entries"]:
        return False
    with env.begin(write=True) as txn:
        databases = [env.open_db(name.encode(), txn=txn) for name in DATABASES]
        txn.put(FORMAT_KEY, seal(b"meta", FORMAT_KEY, FORMAT), db=databases[0])
        identity = secrets.token_bytes(IDENTITY_BYTES)
        txn.put(IDENTITY_KEY, seal(b"meta", IDENTITY_KEY, identity), db=databases[0])
        txn.put(RETENTION_KEY, seal(b"meta", RETENTION_KEY, _BORN_WITH_RETENTION), db=databases[0])
    return True


def add_databases(env: Any) -> None:
    """Make the databases that a store of this format may lack, since it was made before they were needed."""
    for name in DATABASES:
        env.open_db(name.encode())


def settle(path: Path, lock_file: int) -> None:
    """Make the files private; if the store is new, make their names durable and note that there is a store."""
    for name in ("data.mdb", "lock.mdb", "writer.lock"):
        (path / name).chmod(0o600)
        disk.give_to_owner(path / name)
    if _is_made(path):
        return
    for directory in _on_its_file_system(path):
        sync.flush_directory(directory)
    sync.write_at(lock_file, _MADE, 0)
    sync.flush_file(lock_file)


def _on_its_file_system(path: Path) -> list[Path]:
    """Return this directory and those above it: any of them may have been made with it."""
    path = path.resolve()
    device = path.stat().st_dev
    return [each for each in (path, *path.parents) if each.stat().st_dev == device]


def _check_kept(path: Path) -> None:
    if any(path.glob("data.mdb.format-*")):
        raise StoreMissing(
            f"there is no data.mdb in {path}: put it back, or take .format-N off the names of what was kept there of "
            "an older format"
        )


def _is_made(path: Path) -> bool:
    lock_file = path / "writer.lock"
    return lock_file.exists() and lock_file.stat().st_size > 0


def _is_unfinished(data: Path) -> bool:
    """Return whether no transaction was committed in this file, or just the first, whose pages are not all there."""
    page_bytes = min(os.sysconf("SC_PAGE_SIZE"), _PAGE_BYTES_MAX)
    with data.open("rb") as file:
        pages = file.read(_PAGES_MAX * page_bytes + 1)
    if len(pages) > _PAGES_MAX * page_bytes:
        return False
    return all(_is_of_making(pages[at:], len(pages) // page_bytes) for at in (0, page_bytes))


def _is_of_making(page: bytes, pages: int) -> bool:
    """Return whether this meta page is blank, names nothing, or names a first transaction that is not all there."""
    head = page[: _HEAD.size + _META.size].ljust(_HEAD.size + _META.size, b"\0")
    magic, *_, last_page, transaction = _META.unpack_from(head, _HEAD.size)
    if magic != _MAGIC:
        return not any(head)
    return bool(transaction == 0 or (transaction == 1 and last_page >= pages))
