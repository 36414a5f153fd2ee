"""The store, opened for commands that only read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.cli.failure import say
from server.config.load import StorageConfig, load_section
from storage.lmdb_store.environment import Store
from storage.read.reader import Reader
from storage.write.recovery import recover


@contextmanager
def open_reader(config: Path) -> Iterator[Reader]:
    """Open the store of this configuration for reading, whether its server is running or stopped."""
    with open_store(config) as store:
        yield Reader(store)


@contextmanager
def open_store(config: Path | None, path: Path | None = None) -> Iterator[Store]:
    """Open the store of this configuration, or the one in the directory `path`, as `open_reader`."""
    path = store_path(config, path)
    left = recover(path)
    if left:
        say(f"{left} events are acknowledged and not in the store yet; they are in its journal, and not shown")
    store = Store.open(path, mode="read")
    try:
        yield store
    finally:
        store.close()


def store_path(config: Path | None, path: Path | None) -> Path:
    """Return where the store is: in the directory that was named, or where the configuration says."""
    if path is not None:
        return path
    assert config is not None  # it is there where no directory was named
    return load_section(config, StorageConfig).path
