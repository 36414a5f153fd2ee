"""The task of the look-up index: whatever goes wrong in it, the server goes on."""

import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from server.flow.indexing import REST_FACTOR, IndexingTask
from storage.codec.index_rows import GRANULE
from storage.index.planner import IndexPlanner
from storage.index_step import IndexStep
from tests.support.store import opened
from tests.support.waiting import HANG_SECONDS


async def test_a_bug_of_the_index_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails as nobody thought of is an error that readiness can tell, and the task goes on."""
    planned = threading.Event()

    def plan(_: IndexPlanner) -> None:
        planned.set()
        raise ValueError("nobody thought of it")

    monkeypatch.setattr(IndexPlanner, "plan", plan)
    committer: Any = SimpleNamespace(stored_end=GRANULE, failure=None, full=False)
    with opened(tmp_path / "store") as (store, _):
        task = IndexingTask(committer, store)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            assert await trio.to_thread.run_sync(partial(planned.wait, HANG_SECONDS))
            await task.stop()
    assert str(task.error) == "nobody thought of it"


async def test_a_step_is_followed_by_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """What a step took is followed by a rest of many times that: full load keeps nearly all of its core."""
    begun: list[float] = []
    enough = threading.Event()

    def plan(_: IndexPlanner) -> IndexStep:
        begun.append(autojump_clock.current_time())
        autojump_clock.jump(1)
        if len(begun) > 1:
            enough.set()
        return IndexStep()

    monkeypatch.setattr(IndexPlanner, "plan", plan)
    committer: Any = SimpleNamespace(stored_end=GRANULE, failure=None, full=False)
    with opened(tmp_path / "store") as (store, _):
        task = IndexingTask(committer, store)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            assert await trio.to_thread.run_sync(partial(enough.wait, HANG_SECONDS))
            await task.stop()
    assert begun[1] - begun[0] >= 1 + REST_FACTOR
