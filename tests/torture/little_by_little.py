"""Write one event a transaction until the disk is full, and again when there is room: in a process of its own, since a
store into a map ends it by SIGBUS where a file system has no room for that.

    python -m tests.torture.little_by_little DIRECTORY

prints how often it was refused, and how many events there are.
"""

import os
import sys
from pathlib import Path

from storage.errors import StoreFull
from storage.model import Group
from storage.write.writer import Writer
from tests.support.file_systems import use_up
from tests.support.store import numbered, opened

TRIES = 20


def main(directory: Path) -> None:
    with opened(directory / "store") as (_, writer):
        writer.write(Group([numbered(1, 1)]))
        os.sync()
        use_up(directory)
        refused = sum(_is_refused(writer) for _ in range(TRIES))
        (directory / "filler").unlink(missing_ok=True)
        os.sync()
        writer.write(Group([numbered(writer.next_number, 1)]))
        sys.stdout.write(f"{refused} {writer.next_number - 1}\n")


def _is_refused(writer: Writer) -> bool:
    os.sync()
    try:
        writer.write(Group([numbered(writer.next_number, 1)]))
    except StoreFull:
        return True
    return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
