"""What is flushed to the disk, and why: every promise of durability is kept by a function or a flag of this file.

When is decided by two tasks: `Acknowledger.run` (server/flow/acknowledger.py) for the journal, `Committer.run`
(server/flow/committer.py) for the store.

- **A record of the journal** (`storage/journal/journal.py`): written, then `flush_data`, before any of its deliveries
  is acknowledged. The file keeps its size and its blocks, which are written once with `flush_file` when it is made; so
  an append changes data alone.
- **A transaction of the store** (`Store.write_transaction`): LMDB's commit, opened with COMMIT_FLAGS, flushes the data
  (fdatasync), then writes the meta page that names it through a descriptor opened with O_DSYNC. What the group holds is
  acknowledged, and its outcomes hold, after that only.
- **Names**: a new file is lost in a power cut as long as its directory is not flushed. `flush_directory` follows the
  making of the store (its directory, and those above it) and of the journal, and each step of a conversion that
  gives a file its name (`storage/migrate/convert.py`).
- **Files of the dedup index** (`storage/dedup/spill.py`) need not survive anything: they are flushed in steps, so that
  what the disk refuses is known before a file is trusted, and a commit never waits for more than one step.

Every function raises OSError. After a failed flush the page cache may no longer hold what was written: trying again
proves nothing, so nothing is acknowledged through the same file until it is opened again.
"""

import os
from collections.abc import Mapping
from pathlib import Path

COMMIT_FLAGS: Mapping[str, bool] = {"sync": True, "metasync": True, "map_async": False, "writemap": False}
"""LMDB's defaults. `writemap` would also make a full disk SIGBUS."""


def write_at(file: int, content: bytes, offset: int) -> None:
    """Write all of it: one call may stop short when the disk becomes full."""
    left = memoryview(content)
    while left:
        written = os.pwrite(file, left, offset)
        left, offset = left[written:], offset + written


def flush_data(file: int) -> None:
    """Return when the file's content is on the disk, and the size that it needs to be read."""
    os.fdatasync(file)


def flush_file(file: int) -> None:
    """Return when the file's content, size and times are on the disk."""
    os.fsync(file)


def flush_directory(path: Path) -> None:
    """Return when the names in this directory are on the disk; with everything else, if it may not be listed."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        os.sync()
        return
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
