"""Other processes that hold places in the table of readers of a store."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READERS_MAX = 1022

TAKE_PLACES = """
import sys, lmdb
env = lmdb.open(sys.argv[1], lib_version=0, readonly=True)
begun = []
try:
    while len(begun) < int(sys.argv[2]):
        begun.append(env.begin())
except lmdb.ReadersFullError:
    pass
print(len(begun), flush=True)
sys.stdin.read()
"""
"""Another process, which reads until its stdin ends."""


@contextmanager
def other_readers(path: Path, count: int = READERS_MAX) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds this many places, or all that are left; killed at the end of the block."""
    arguments = [sys.executable, "-c", TAKE_PLACES, str(path), str(count)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert int(child.stdout.readline()) > 0
        try:
            yield child
        finally:
            child.kill()
