"""Freeing the places of killed readers in a child, before a writer has one itself.

A writer in a container often has the same process number at each start. Then `reader_check` takes the places that it
left behind when it was killed for its own: one that was in use would pin pages for as long as it runs.
"""

import os
import subprocess
import sys
from pathlib import Path

import lmdb

from storage.lmdb_store.child import command, environment


def free_stale_places(path: Path) -> None:
    """Free them in the lock.mdb of this directory; call if others have it open: otherwise LMDB empties the table."""
    subprocess.run(  # noqa: S603 - our own interpreter and module
        command("storage.lmdb_store.stale_places", path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        check=False,
    )


def main(path: str) -> int:
    """Run the child."""
    try:
        lmdb.open(path, lib_version=0, readonly=True, create=False).reader_check()
    except lmdb.Error:
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1]))
