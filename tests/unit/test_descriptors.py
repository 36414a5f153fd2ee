"""Descriptors of the server that something else in its process closes: it ends, and only then."""

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from server.runtime.descriptors import WATCH_SECONDS, watched
from tests.support.waiting import until


def reuse(file: int) -> None:
    """Close it, and lead its number elsewhere."""
    other = os.open(os.devnull, os.O_RDONLY)
    os.dup2(other, file)
    os.close(other)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How often it has been looked so far, at a pace for tests."""
    found: list[float] = []
    pause = threading.Event().wait

    def sleep(seconds: float) -> None:
        found.append(seconds)
        pause(seconds / 1000)

    monkeypatch.setattr(time, "sleep", sleep)
    return found


@pytest.mark.parametrize("change", [os.close, reuse])
def test_a_closed_descriptor_ends_the_server(looks: list[float], change: Callable[[int], None]) -> None:
    """The end is called when one of them was closed, or closed and opened by somebody else, and not before."""
    file, ended = os.eventfd(0), threading.Event()

    async def main() -> None:
        with watched([file], lambda: False, ended.set):
            await until(lambda: len(looks) > 3)
            assert not ended.is_set()
            change(file)
            await until(ended.is_set)

    trio.run(main)


def test_a_changed_mode_is_no_loss(looks: list[float], tmp_path: Path) -> None:
    """Whoever may read a log file or the lock from now on: it is the same file, and the server goes on."""
    file, ended = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY, 0o600), threading.Event()

    async def main() -> None:
        with watched([file], lambda: False, ended.set):
            os.fchmod(file, 0o640)
            before = looks.count(WATCH_SECONDS)
            await until(lambda: ended.is_set() or looks.count(WATCH_SECONDS) > before + 3)
            assert not ended.is_set()

    trio.run(main)
    os.close(file)


def test_a_deaf_loop_ends_the_server(looks: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """The end is called when what wakes the loop was closed, as no thread can say any more that it has finished."""
    ended = threading.Event()

    async def main() -> None:
        token = trio.lowlevel.current_trio_token()
        with watched([], lambda: False, ended.set):
            write = token._reentry_queue.wakeup.write_sock
            other = write.dup()
            os.close(write.fileno())
            await until(ended.is_set)
            os.dup2(other.fileno(), write.fileno())
            other.close()

    trio.run(main)


@pytest.mark.parametrize("draining", [True, False])
def test_its_own_closing_is_no_loss(looks: list[float], draining: bool) -> None:
    """What the server closes when it drains, or has ended, is not missed."""
    file, ended = os.eventfd(0), threading.Event()

    async def main() -> None:
        with watched([file], lambda: draining, ended.set):
            if draining:
                os.close(file)
                await until(partial(len, looks))
        if not draining:
            os.close(file)
        await until(lambda: "descriptors" not in [each.name for each in threading.enumerate()])

    trio.run(main)
    assert not ended.is_set()
