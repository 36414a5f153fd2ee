"""Loading and calling processors."""

import asyncio
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from server.flow.processor import (
    RESULT_BYTES_MAX,
    BatchFailed,
    Done,
    Failed,
    Processor,
    ProcessorError,
    is_outage,
    load,
)
from server.worker import Worker

EVENTS: list[dict[str, Any]] = [{"inbound_event_id": "a"}, {"inbound_event_id": "b"}]


async def call(function: Callable[..., Any], timeout_seconds: float = 30) -> list[Done | Failed]:
    return await Processor(function, Worker("test"))(EVENTS, timeout_seconds)


async def test_nothing_returned_means_all_are_done() -> None:
    """The common processor returns nothing."""
    assert await call(lambda events: None) == [Done(), Done()]


async def test_one_entry_an_event() -> None:
    """None is done, a value is a result, an exception is that event's failure."""
    assert await call(lambda events: [{"n": 1}, ValueError("bad")]) == [Done(b'{"n":1}'), Failed("ValueError: bad")]
    assert await call(lambda events: [False, None]) == [Done(b"false"), Done()]


async def test_an_async_processor_is_called_the_same_way() -> None:
    """Functions and objects."""

    async def function(events: list[dict[str, Any]]) -> list[int]:
        await trio.lowlevel.checkpoint()
        return [1, 2]

    class Worked:
        async def __call__(self, events: list[dict[str, Any]]) -> list[int]:
            return await function(events)

    assert await call(function) == [Done(b"1"), Done(b"2")]
    assert await call(Worked()) == [Done(b"1"), Done(b"2")]


@pytest.mark.parametrize("returned", [[], [1], [1, 2, 3], "ab", b"ab", {"a": 1, "b": 2}, 7, {1, 2}, True])
async def test_anything_else_is_a_failed_batch(returned: object) -> None:
    """A dict or a text of the right length too: guessing would hide a mistake."""
    with pytest.raises(BatchFailed, match="one entry"):
        await call(lambda events: returned)


async def test_a_result_that_is_no_json_or_too_large_fails_its_event_alone() -> None:
    """The limit counts the bytes of the JSON."""
    fits, over = "x" * (RESULT_BYTES_MAX - 2), "x" * (RESULT_BYTES_MAX - 1)
    assert [type(entry) for entry in await call(lambda events: [fits, over])] == [Done, Failed]
    assert [type(entry) for entry in await call(lambda events: [object(), 1])] == [Failed, Done]
    assert [type(entry) for entry in await call(lambda events: ["\ud800", 1])] == [Failed, Done]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        SystemExit(1),
        KeyboardInterrupt(),
        AssertionError(),
        asyncio.CancelledError(),
        GeneratorExit(),
        BaseExceptionGroup("", [SystemExit(1), ValueError()]),
    ],
    ids=repr,
)
async def test_whatever_is_raised_is_a_failed_batch(error: BaseException) -> None:
    """Not the end of the server."""

    def function(events: list[dict[str, Any]]) -> None:
        raise error

    with pytest.raises(BatchFailed) as caught:
        await call(function)
    assert not caught.value.outage


async def test_an_async_processor_may_raise_anything_too() -> None:
    """A group from its own nursery, with a SystemExit in it, ended the server."""

    async def function(events: list[dict[str, Any]]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            sys.exit(1)

    with pytest.raises(BatchFailed):
        await call(function)


async def test_a_cancelled_call_is_no_failure() -> None:
    """What cancels the call from outside goes through it, however it was nested."""

    async def function(events: list[dict[str, Any]]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)

    with trio.CancelScope() as scope:
        scope.cancel()
        await call(function)
    assert scope.cancelled_caught


async def test_an_answer_whose_methods_raise_is_a_failure() -> None:
    """A foreign sequence ended the server; a data class with an empty slot ended the interpreter (orjson 3.13)."""

    class Sequence(list[Any]):
        def __len__(self) -> int:
            raise ZeroDivisionError

    @dataclass(slots=True)
    class Value:
        field: int

    value = Value(1)
    del value.field
    with pytest.raises(BatchFailed, match="ZeroDivisionError"):
        await call(lambda events: Sequence())
    assert [type(entry) for entry in await call(lambda events: [value, 1])] == [Failed, Done]


async def test_a_plain_call_that_outruns_its_time_keeps_its_thread() -> None:
    """The processor hangs until that call returns."""
    gate = threading.Event()
    processor = Processor(lambda events: gate.wait(30), Worker("test"))
    with pytest.raises(BatchFailed, match="timeout"):
        await processor(EVENTS, 0.01)
    assert processor.hanging
    gate.set()
    await processor.free()
    assert not processor.hanging


async def test_an_async_call_that_outruns_its_time_is_cancelled() -> None:
    """Nothing of it goes on."""

    async def function(events: list[dict[str, Any]]) -> None:
        await trio.sleep_forever()

    with pytest.raises(BatchFailed, match="timeout"):
        await call(function, 0.01)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (OSError(), True),
        (FileNotFoundError(), False),
        (PermissionError(), False),
        (ValueError(), False),
        (ExceptionGroup("", [TimeoutError(), ConnectionResetError()]), True),
        (ExceptionGroup("", [TimeoutError(), ValueError()]), False),
    ],
)
def test_an_outage_is_the_world_away_not_a_mistake(error: BaseException, expected: bool) -> None:
    """File errors are this host's; of a group, all must be outages."""
    assert is_outage(error) is expected


async def test_a_plain_function_that_returns_a_coroutine_is_told_so() -> None:
    """It would otherwise look like a success that did nothing."""

    async def inner() -> None:
        raise AssertionError

    with pytest.raises(BatchFailed, match="async"):
        await call(lambda events: inner())


async def test_an_error_of_any_shape_is_kept_short_and_printable() -> None:
    """Surrogates, length, and a __str__ that raises."""

    class Strange(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert await call(lambda events: [Strange(), ValueError("\ud800" * 5000)]) == [
        Failed("Strange"),
        Failed("ValueError: " + "?" * 988),
    ]


def test_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module beside the configuration is found; every way to be wrong is named."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "loading_good.py").write_text("def work(events): pass\nvalue = 1\n")
    (tmp_path / "loading_bad.py").write_text("raise SystemExit(3)\n")
    assert callable(load("loading_good:work", tmp_path))
    for spec in ("loading_good:absent", "loading_good:value", "loading_bad:work", "loading_absent:work"):
        with pytest.raises(ProcessorError, match=spec):
            load(spec, tmp_path)
