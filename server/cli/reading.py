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
    path = load_section(config, StorageConfig).path
    left = recover(path)
    if left:
        say(f"{left} events are acknowledged and not in the store yet; they are in its journal, and not shown")
    store = Store.open(path, mode="read")
    try:
        yield Reader(store)
    finally:
        store.close()
