"""storage/dedup/index.py against a dict: whatever is added, sealed, moved to files and expired, in any order."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from storage.dedup import index as module
from storage.dedup import runs as runs_module
from storage.dedup import spill
from storage.dedup.index import DedupIndex
from storage.dedup.jobs import Job

WINDOW_MS = 80
IDS = 160


def digest_of(each: int) -> bytes:
    """Eight ids share a fingerprint, so that candidates are often false."""
    return (each // 8 * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "little") + each.to_bytes(8, "little")


@contextmanager
def small() -> Iterator[None]:
    with ExitStack() as stack:
        for place, name, value in (
            (module, "SEAL_EVENTS", 8),
            (module, "MAPPED_RUN_EVENTS_MAX", 100),
            (runs_module, "SLICE_ENTRIES", 16),
            (spill, "DISK_RESERVE_BYTES", 0),
        ):
            stack.enter_context(patch.object(place, name, value))
        yield


class IndexMachine(RuleBasedStateMachine):
    """The index, and a dict of what was added: id to its newest number and time."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(small())
        self.directory = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.index = DedupIndex(WINDOW_MS, 32, Path(self.directory))
        self.ids: dict[int, int] = {}
        self.newest: dict[int, tuple[int, int]] = {}
        self.now_ms = 1000
        self.number = 0
        self.job: Job | None = None

    def teardown(self) -> None:
        self.stack.close()

    @rule(ids=st.lists(st.integers(0, IDS - 1), unique=True, max_size=24), later_ms=st.integers(0, 12))
    def add(self, ids: list[int], later_ms: int) -> None:
        self.now_ms += later_ms
        numbers = range(self.number, self.number + len(ids))
        self.number += len(ids)
        for each, number in zip(ids, numbers, strict=True):
            self.ids[number] = each
            self.newest[each] = number, self.now_ms
        self.index.add(list(map(digest_of, ids)), numbers, self.now_ms)

    @rule(room=st.booleans())
    def run_job(self, room: bool) -> None:
        if self.job is None:
            self.job = self.index.merge_job()
            if self.job is not None:
                with patch.object(spill, "DISK_RESERVE_BYTES", 0 if room else 1 << 62):
                    self.job.run()

    @rule()
    def install(self) -> None:
        if self.job is not None:
            self.index.install(self.job)
            self.job = None

    @rule()
    def expire(self) -> None:
        self.index.expire(self.now_ms)

    @invariant()
    def knows_what_was_added(self) -> None:
        """All inside the window is known by its newest number, and every confirmed hit is an event of that id."""
        probe = self.index.probe(list(map(digest_of, range(IDS))))
        found: dict[int, set[int]] = {position: {number} for position, number in probe.known.items()}
        for position, number in probe.candidates():
            if self.ids[number] == position:
                found.setdefault(position, set()).add(number)
        for position, numbers in found.items():
            assert {self.ids[number] for number in numbers} == {position}
        for each, (number, at_ms) in self.newest.items():
            if at_ms >= self.now_ms - WINDOW_MS:
                assert number in found[each]


IndexMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestIndex = IndexMachine.TestCase
