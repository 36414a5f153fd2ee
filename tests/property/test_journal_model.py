"""The journal and the store against a list: whatever is acknowledged, written, cut off, started again."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from storage.journal.journal import Journal
from storage.lmdb_store.environment import Store
from storage.model import Append, Group
from storage.read.reader import Reader
from storage.statuses import EventStatus
from storage.write.recovery import recover
from storage.write.writer import Writer
from tests.support.store import delivery, singles

TINY = 1 << 18
"""The map: room for some hundred events, so that the journal is full after a few deliveries."""


class JournalAndStore(RuleBasedStateMachine):
    """What is acknowledged is in the store after every start, in order, once."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.acknowledged: list[str] = []
        self.unwritten: list[Append] = []

    @initialize()
    def start(self) -> None:
        self.store = Store.open(self.path, map_size_bytes=TINY, mode="write")
        self.writer = Writer(self.store)
        self.journal = Journal(self.store)

    def teardown(self) -> None:
        self.journal.close()
        self.store.close()
        shutil.rmtree(self.path)

    @rule(count=st.integers(1, 4), together=st.booleans(), body=st.integers(0, 900))
    def deliver(self, count: int, together: bool, body: int) -> None:
        """Into the journal, or with all that is unwritten into the store where it has no room."""
        number = len(self.acknowledged) + 1
        ids = [f"id-{number + at}" for at in range(count)]
        data = b"x" * body
        stored = singles(number, ids, bodies=[data] * count) if together else delivery(number, ids, body=data)
        if not self.unwritten:
            self.journal.rewind()
        self.unwritten.append(Append(stored, count, EventStatus.DEFERRED))
        if not (self.journal.has_room(count * body, count) and self.journal.append(self.unwritten[-1:])):
            self.write()
        self.acknowledged += ids

    @rule()
    def write(self) -> None:
        self.writer.write(Group(self.unwritten))
        self.unwritten = []

    @rule(torn=st.binary(max_size=60), looked_at=st.booleans())
    def crash(self, torn: bytes, looked_at: bool) -> None:
        """With a record begun that nobody was told of; perhaps a command looks at the store before the next start."""
        if not self.unwritten:
            self.journal.rewind()
        self.store.close()
        with (self.path / "journal").open("r+b") as file:
            file.seek(self.journal._at)
            file.write(torn[: self.journal.bytes_max - self.journal._at])
        self.journal.close()
        if looked_at:
            assert recover(self.path) == 0
        self.start()
        self.unwritten = []
        assert self.writer.next_number == len(self.acknowledged) + 1
        self.check()

    def check(self) -> None:
        """All that was acknowledged is in the log."""
        reader = Reader(self.store)
        for number, event_id in enumerate(self.acknowledged, 1):
            (found,) = reader.spans([number], bodies=True)
            assert found.numbered is not None
            assert found.numbered.event_id(number - found.numbered.first) == event_id

    @invariant()
    def counted(self) -> None:
        """What is not in the store is what was not written."""
        waiting = sum(append.numbered.count for append in self.unwritten)
        assert self.writer.next_number + waiting == len(self.acknowledged) + 1


JournalAndStore.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestJournal = JournalAndStore.TestCase
