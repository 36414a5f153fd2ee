"""kill -9 in the middle of writing: what was confirmed is there, and the store is right."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from storage.check.verify import verify
from storage.read.reader import Reader
from tests.support.store import opened

ROOT = Path(__file__).parents[2]
ROUNDS = int(os.environ.get("TIDEGATE_KILL_ROUNDS", "5"))
GROUPS = 12
"""Confirmed groups before the kill: more each round, so that it strikes at other places."""

WRITE = """
import sys
from pathlib import Path
from storage.model import Group
from storage.statuses import EventStatus
from tests.support.store import numbered, opened, outcome
with opened(Path(sys.argv[1])) as (store, writer):
    while True:
        first = writer.next_number
        low = writer.totals["demo"].oldest if "demo" in writer.totals else first
        details = {low: b'{"result":1}'}
        done = [outcome(EventStatus.PROCESSED, range(low, first), details=details)] if low < first else []
        writer.write(Group([numbered(first, 1 + first % 50, body=b"x" * (first % 3000))], done))
        print(writer.next_number, flush=True)
"""


def killed_while_writing(path: Path, groups: int) -> int:
    """The next number that a child confirmed last before it was killed."""
    child = subprocess.Popen([sys.executable, "-c", WRITE, str(path)], stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdout is not None
    with child.stdout as confirmed:
        for _ in range(groups):
            confirmed.readline()
        child.send_signal(signal.SIGKILL)
        lines = confirmed.read().splitlines(keepends=True)
    child.wait()
    complete = [line for line in lines if line.endswith(b"\n")]
    return int(complete[-1]) if complete else 0


def test_what_was_confirmed_survives_a_kill(tmp_path: Path) -> None:
    """After each kill every confirmed event is in the store, verify is clean, and writing goes on where it was."""
    path = tmp_path / "store"
    for turn in range(ROUNDS):
        confirmed = killed_while_writing(path, GROUPS + turn)
        assert verify(path).problems == []
        with opened(path) as (store, writer):
            assert writer.next_number >= confirmed
            assert writer.totals["demo"].received == writer.next_number - 1
            assert Reader(store).totals() == writer.totals
