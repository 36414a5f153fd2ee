"""The truncation check: does the file hold every page in use? Whoever reads one that is missing ends by SIGBUS.

A file that is shorter than its last page says is usually a cut one, but pages at its end that hold nothing may never
have been written. So where it is short, a child (`python -m storage.lmdb_store.truncation PATH`) copies every page that
is in use into a pipe, and shows by its end whether they are there.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lmdb

from storage.errors import StoreDamaged
from storage.lmdb_store.child import command, environment

PIPE_READ_BYTES = 2**20


def check_truncation(env: Any, path: Path) -> None:
    """Raise StoreDamaged if a page in use lies behind the end of the file in the directory `path`."""
    expected = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    size = (path / "data.mdb").stat().st_size
    if size < expected and not _is_whole(path):
        raise StoreDamaged(
            f"data.mdb in {path} has {size} bytes, and what it holds needs {expected}: its end is missing"
        )


def _is_whole(path: Path) -> bool:
    with subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command("storage.lmdb_store.truncation", path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    ) as child:
        assert child.stdout is not None
        while child.stdout.read(PIPE_READ_BYTES):
            pass
        return child.wait() == 0


def main(path: str) -> int:
    """Run the child. It opens no lock file: its parent may be the writer that has just opened the store."""
    try:
        env = lmdb.open(os.fsencode(path), lib_version=0, readonly=True, lock=False, create=False, map_size=0)
        env.copyfd(sys.stdout.fileno(), compact=True)
    except lmdb.Error:
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1]))
