"""One open store: the LMDB environment, its databases, its lock, its room.

Guarantees: one writing process (flock on `writer.lock`); the directory is 0700 and the files 0600; a store of another
format is refused, and so is one whose file was cut; every lmdb.Error leaves as a StoreError, except PanicError: an
environment that has failed, and that cannot be opened anew since a transaction does not end. The process must end then.

What a commit flushes, and when: `storage/sync.py`. When the map is full even a deletion fails, so a reserve of it is
kept for outcomes: see `room.py`.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import lmdb

from storage import sync
from storage.codec.records import IDENTITY_BYTES, unseal
from storage.errors import StoreFailed
from storage.lmdb_store import disk, lock
from storage.lmdb_store.errors import lmdb_errors, opening_errors, translated, uninterrupted
from storage.lmdb_store.format import check_format
from storage.lmdb_store.held import HeldFile
from storage.lmdb_store.making import (
    ALWAYS_THERE,
    DATABASES,
    IDENTITY_KEY,
    RETENTION_KEY,
    add_databases,
    check_data,
    initialise,
    settle,
)
from storage.lmdb_store.place import check_files
from storage.lmdb_store.reserve import reserve_bytes
from storage.lmdb_store.stale_places import free_stale_places
from storage.lmdb_store.transactions import PLACES_KEPT, Transactions, when_there_is_a_place
from storage.lmdb_store.truncation import check_truncation
from storage.lmdb_store.witness import Witness

DATABASES_MAX = 16
"""LMDB fixes this when it opens; more than there are, so that a later format may add some."""

OpenEnvironment = Callable[..., Any]
_FIXED_PAGES = 3
"""Two meta pages, and the one that names the databases."""


class Store:
    """An open store. `env` is for Writer and Reader; `write_transaction` and `read_transaction` map errors."""

    def __init__(
        self, env: Any, path: Path, map_size_bytes: int, lock_file: int | None, open_again: Callable[[], Any]
    ) -> None:
        self.path = path
        self.map_size_bytes = map_size_bytes
        self.is_new = False
        """Whether it was made when it was opened."""
        self.reserve_bytes = reserve_bytes(map_size_bytes)
        self.lock_file = lock_file
        """The descriptor of the lock, if one was taken."""
        self._open_again = open_again
        self._taken_back = False
        """Whether the last commit was taken back, and that is perhaps not on the disk."""
        self._transactions = Transactions(env, self._open_anew)
        self.page_bytes: int = env.stat()["psize"]
        self._use(env)
        with self.read_transaction() as txn:
            found = txn.get(IDENTITY_KEY, db=self.meta)
            self.identity = unseal(b"meta", IDENTITY_KEY, bytes(found)) if found is not None else bytes(IDENTITY_BYTES)
            """What tells it from every other store."""
            self.has_defaults = txn.get(RETENTION_KEY, db=self.meta) is not None
            """Whether the defaults of retention apply: it was made when there was retention."""
        self.witness = Witness(-1 if lock_file is None else lock_file, self.identity)
        """For who writes."""

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        map_size_bytes: int = 0,
        mode: Literal["write", "read"],
        open_environment: OpenEnvironment = lmdb.open,
        truncation_check: bool = True,
        lock_wait_seconds: float = 0,
    ) -> "Store":
        """Open the store in the directory `path`; `write` makes it if there is none.

        `read` works beside a running writer in another process, on a stopped store and on a copy; it takes the size of
        the map from the file. Where it cannot write, it has no place in lock.mdb and keeps writers away instead. One
        process opens a store once. Without `truncation_check` a cut file is opened too: reading it may end the process
        by SIGBUS. `lock_wait_seconds`: a command that looks at a stopped store may hold its lock for a moment. Raises
        StoreMissing, StoreLocked, StoreVersion, StoreDamaged, StoreError.
        """
        with opening_errors(path):
            if mode == "read":
                return cls._open_to_read(path, open_environment, truncation_check=truncation_check)
            return uninterrupted(lambda: cls._open_to_write(path, open_environment, map_size_bytes, lock_wait_seconds))

    @classmethod
    def _open_to_write(
        cls, path: Path, open_environment: OpenEnvironment, map_size_bytes: int, lock_wait_seconds: float
    ) -> "Store":
        with ExitStack() as undo:
            lock_file = lock.take(path, lock_wait_seconds)
            undo.callback(os.close, lock_file)
            check_data(path, "write")
            if disk.allocate_lock_file(path):
                free_stale_places(path)
            open_it = partial(_open, path, open_environment, map_size=map_size_bytes)
            env = open_it()
            undo.callback(env.close)
            with lmdb_errors(path):
                check_truncation(env, path)
                is_new = initialise(env)
                check_format(env)
                add_databases(env)
                settle(path, lock_file)
                env.reader_check()
                store = cls(env, path, map_size_bytes, lock_file, open_it)
                store._transactions.keep_places(PLACES_KEPT)
            store.is_new = is_new
            undo.pop_all()
            return store

    @classmethod
    def _open_to_read(cls, path: Path, open_environment: OpenEnvironment, *, truncation_check: bool) -> "Store":
        check_files(path)
        check_data(path, "read")
        with ExitStack() as undo:
            lock_file = None
            if has_places := disk.is_writable(path / "lock.mdb"):
                disk.allocate_lock_file(path)
                disk.give_to_owner(path / "lock.mdb")
            elif (lock_file := lock.keep_writers_away(path)) is not None:
                undo.callback(os.close, lock_file)
            open_it = partial(_open, path, open_environment, map_size=0, readonly=True, lock=has_places)
            env = open_it()
            undo.callback(env.close)
            with lmdb_errors():
                if truncation_check:
                    check_truncation(env, path)
                check_format(env)
                env.reader_check()
                store = cls(env, path, env.info()["map_size"], lock_file, open_it)
            undo.pop_all()
            return store

    @property
    def lock_path(self) -> Path:
        """The file whose flock says that there is a writer."""
        return self.path / "writer.lock"

    def close(self) -> None:
        """Close it; call when no transaction is open. Idempotent."""
        self.env.close()
        if self.lock_file is not None:
            with suppress(OSError):  # a processor may have done so
                os.close(self.lock_file)
            self.lock_file = None

    @contextmanager
    def read_transaction(self) -> Iterator[Any]:
        """Begin a short read. Its values are buffers inside the map: copy what shall outlive the block."""
        with lmdb_errors():
            txn = self._transactions.begin_read()
            try:
                yield txn
            finally:
                self._transactions.end_read(txn)

    @contextmanager
    def write_transaction(self) -> Iterator[Any]:
        """Commit, with a flush, when the block ends, and abort when it raises: all or nothing. Raises StoreFailed if
        what was committed is perhaps not in the file.

        Begin and end it on one thread: otherwise the next write transaction would hang for ever.
        """
        with lmdb_errors(self.path):
            txn = self._transactions.begin_write()
            try:
                self._flush_taken_back()
                yield txn
                self._check_held()
                txn.commit()
                self._check_held()
            finally:
                self._transactions.end_write(txn)

    def used_bytes(self, txn: Any | None = None, index_bytes: int | None = None) -> int:
        """Return the bytes of the pages that hold something; pages that can be used again do not count.

        `index_bytes`: of the look-up index, if that is known: to ask is a call of LMDB.
        """
        if txn is None:
            with self.read_transaction() as own:
                return self.used_bytes(own)
        index_bytes = self.bytes_of(txn, "index") if index_bytes is None else index_bytes
        return _FIXED_PAGES * self.page_bytes + self.bytes_of(txn, *ALWAYS_THERE, "body_digests") + index_bytes

    def bytes_of(self, txn: Any, *databases: str) -> int:
        """Return the bytes of the pages of these databases."""
        found = [db for name in databases if (db := getattr(self, name)) is not None]
        return sum(_pages(txn.stat(db)) for db in found) * self.page_bytes

    def reader_check(self) -> int:
        """Free the slots of readers that were killed, which pin pages; return how many there were."""
        with lmdb_errors():
            return self._transactions.check_readers()

    def oldest_read(self) -> int:
        """Return the number of the oldest commit that a transaction of any process may see."""
        with lmdb_errors():
            return self._transactions.oldest_read()

    def renew(self) -> None:
        """Open the environment anew, once no transaction is open, so that LMDB has nothing in its memory. Raises
        StoreError."""
        with lmdb_errors():
            self._transactions.renew()

    def _use(self, env: Any) -> None:
        self.env = env
        names = (_database(env, name) for name in DATABASES)
        self.meta, self.facts, self.bodies, self.ids, self.statuses, self.results, self.body_digests, self.index = names
        self._held = [
            HeldFile.found(self.path / name)
            for name in ("data.mdb", "lock.mdb", "writer.lock")
            if (self.path / name).exists()
        ]

    def _check_held(self) -> None:
        try:
            for file in self._held:
                file.check()
        except OSError as error:
            raise StoreFailed(str(error)) from error

    def _open_anew(self) -> Any:
        self.env.close()
        self._use(self._open_again())
        self._taken_back = True
        return self.env

    def _flush_taken_back(self) -> None:
        """Have the meta page of before on the disk before pages are used again that only the failed commit named."""
        if not self._taken_back:
            return
        data = os.open(self.path / "data.mdb", os.O_RDWR | os.O_CLOEXEC)
        try:
            sync.flush_data(data)
        except OSError as error:
            raise lmdb.Error(f"data.mdb cannot be flushed: {error.strerror}") from error
        finally:
            os.close(data)
        self._taken_back = False


def _open(path: Path, open_environment: OpenEnvironment, **options: Any) -> Any:
    try:
        return when_there_is_a_place(
            lambda: open_environment(
                os.fsencode(path),
                lib_version=0,
                mode=0o600,
                max_dbs=DATABASES_MAX,
                create=not options.get("readonly", False),
                **sync.COMMIT_FLAGS,
                **options,
            ),
            writes=not options.get("readonly", False),
        )
    except lmdb.Error as error:
        raise translated(error, None if options.get("readonly") else path) from error


def _database(env: Any, name: str) -> Any:
    """Return a database; None for one that a store lacks since it was made before it, and nobody has written since."""
    try:
        return env.open_db(name.encode(), create=False)
    except lmdb.NotFoundError:
        if name in ALWAYS_THERE:
            raise
        return None


def _pages(stat: Mapping[str, int]) -> int:
    return stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
