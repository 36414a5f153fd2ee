"""Steps by which something is forgotten, of a command and of the overwriting beside it: one after the other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from server.flow import forgetting
from server.flow.forgetting import Forgetting
from server.flow.overwriting import Overwriting
from storage.check.verify import verify
from storage.lmdb_store.environment import Store
from storage.model import Append, Group
from storage.read.snapshot import Snapshots
from storage.rewrite import Erasure
from storage.statuses import EventStatus
from storage.write.writer import Writer
from tests.support.store import AT_MS, delivery, opened, outcome
from tests.support.waiting import until


class Committer:
    """Writes a step at once, but for the first that overwrites pages: that one waits until another has been planned."""

    def __init__(self, writer: Writer) -> None:
        self.failure = None
        self.rewriting = trio.Lock()
        self.planned = 0
        self.held = trio.Event()
        self._writer, self.store_clock = writer, writer.clock
        self._is_writing = False

    async def flushed(self) -> None:
        await trio.lowlevel.checkpoint()

    async def write_time(self) -> None:
        self._writer.write(Group())
        await trio.lowlevel.checkpoint()

    async def erase(self, erasure: Erasure, _: object) -> bool:
        assert not self._is_writing, "a second step would take the place of the one that is being written"
        self._is_writing = True
        if len(erasure.overwrite) and not self.held.is_set():
            before = self.planned
            self.held.set()
            await until(lambda: self.planned > before)
            for _turn in range(100):  # what was planned would be handed over now
                await trio.lowlevel.checkpoint()
        self._writer.write(Group(erasure=erasure))
        self._is_writing = False
        return True


@asynccontextmanager
async def nothing_stands(*_: object, **__: object) -> AsyncIterator[None]:
    yield


async def done(*_: object) -> bool:
    await trio.lowlevel.checkpoint()
    return True


def forgets(store: Store, fake: Committer, standing_still: Any) -> tuple[Forgetting, Overwriting]:
    engine: Any = SimpleNamespace(
        states=[SimpleNamespace(id="demo")], standing_still=standing_still, forget_error=lambda _: None
    )
    committer: Any = fake  # what they use of one
    acknowledger: Any = SimpleNamespace(overwrite_journal=done)
    overwriting = Overwriting(committer, acknowledger, store, counted=lambda _: None, now_ms=lambda: AT_MS)
    made = Forgetting(
        engine,
        committer=committer,
        overwriting=overwriting,
        replays=SimpleNamespace(standing_still=nothing_stands),  # type: ignore[arg-type]  # all that it uses of them
        forget_refusals=done,  # type: ignore[arg-type]  # what it answers is not looked at
        store=store,
        now_ms=lambda: AT_MS,
    )
    return made, overwriting


async def test_one_step_is_written_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that comes while what others forgot is overwritten waits for that step: neither is lost, and the note
    that something is owed goes when both are overwritten."""
    with opened(tmp_path) as (store, writer):
        writer.write(Group([Append(delivery(1, ["a", "b"], body=b'[{"a":1},{"b":2}]'), 2, EventStatus.DEFERRED)]))
        writer.write(Group(changes=[outcome(EventStatus.PROCESSED, [1, 2])]))
        committer = Committer(writer)
        plan = forgetting._next

        def noted(steps: Any) -> Any:
            found = plan(steps)
            committer.planned += found is not None
            return found

        monkeypatch.setattr(forgetting, "_next", noted)
        made, overwriting = forgets(store, committer, nothing_stands)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(overwriting.run)
            await made.forget("demo", ["a"], pending=False, wait=False)
            await committer.held.wait()
            found = await made.forget("demo", ["b"], pending=False, wait=True)
            assert found == forgetting.Forgotten(1, 1, [], [], True)
            nursery.cancel_scope.cancel()
        with Snapshots(store).take() as snapshot:
            assert snapshot.erasure_since_ms() == 0
            numbered = snapshot.delivery_of(1)
            assert numbered is not None
            assert all(numbered.forgotten_at(position) for position in range(2))
    assert verify(tmp_path).ok


async def test_what_comes_meanwhile_is_left_alone(tmp_path: Path) -> None:
    """An event of the id that comes after it was found that none is pending may be with a processor, which was not
    waited for: its outcome would be a second one."""
    with opened(tmp_path) as (store, writer):
        writer.write(Group([Append(delivery(1, ["a"], body=b'{"a":1}'), 1, EventStatus.DEFERRED)]))
        writer.write(Group(changes=[outcome(EventStatus.PROCESSED, [1])]))

        @asynccontextmanager
        async def another_comes(*_: object, pending: bool) -> AsyncIterator[None]:
            assert not pending
            writer.write(Group([Append(delivery(2, ["a"], body=b'{"a":2}'), 1, EventStatus.DEFERRED)]))
            yield

        made, _ = forgets(store, Committer(writer), another_comes)
        found = await made.forget("demo", ["a"], pending=True, wait=False)
        assert found == forgetting.Forgotten(0, 0, ["a"], [], True)
