"""Loading and calling processors."""

import asyncio
import itertools
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio

from server.base.worker import Worker
from server.flow.processor import (
    BatchFailed,
    Failed,
    Processor,
    ProcessorError,
    Succeeded,
    load,
)
from server.flow.results import RESULT_BYTES_MAX
from tests.support.store import unrecorded_hand
from tests.support.waiting import HANG_SECONDS

EVENTS: list[dict[str, Any]] = [{"inbound_event_id": "a"}, {"inbound_event_id": "b"}]


async def call(
    function: Callable[..., Any], timeout_seconds: float = 30, outages: Collection[str] = ()
) -> list[Succeeded | Failed]:
    return await processor_of(function)(EVENTS, [1, 2], timeout_seconds, outages)


def processor_of(function: Callable[..., Any]) -> Processor:
    return Processor(function, Worker("test"), unrecorded_hand())


async def test_nothing_returned_means_all_are_done() -> None:
    """The common processor returns nothing."""
    assert await call(lambda events: None) == [Succeeded(), Succeeded()]


async def test_one_entry_an_event() -> None:
    """None is done, a value is a result, an exception is that event's failure."""
    assert await call(lambda events: [{"n": 1}, ValueError("bad")]) == [
        Succeeded(b'{"n":1}'),
        Failed("ValueError: bad"),
    ]
    assert await call(lambda events: [False, None]) == [Succeeded(b"false"), Succeeded()]


async def test_an_async_processor_is_called_the_same_way() -> None:
    """Functions and objects."""

    async def function(events: list[dict[str, Any]]) -> list[int]:
        await trio.lowlevel.checkpoint()
        return [1, 2]

    class Worked:
        async def __call__(self, events: list[dict[str, Any]]) -> list[int]:
            return await function(events)

    assert await call(function) == [Succeeded(b"1"), Succeeded(b"2")]
    assert await call(Worked()) == [Succeeded(b"1"), Succeeded(b"2")]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("left", [0, 1, 3])
async def test_its_list_is_its_own(is_async: bool, left: int) -> None:
    """Regression: an async processor that took the events out of its list ended the server."""

    def function(events: list[dict[str, Any]]) -> None:
        events[:] = [{}] * left

    async def async_function(events: list[dict[str, Any]]) -> None:
        function(events)

    worked = processor_of(async_function if is_async else function)
    assert await worked(list(EVENTS), [1, 2], 30) == [Succeeded(), Succeeded()]


@pytest.mark.parametrize("returned", [[], [1], [1, 2, 3], "ab", b"ab", {"a": 1, "b": 2}, 7, {1, 2}, True])
async def test_anything_else_is_a_failed_batch(returned: object) -> None:
    """A dict or a text of the right length too: guessing would hide a mistake."""
    with pytest.raises(BatchFailed, match="one entry"):
        await call(lambda events: returned)


async def test_a_result_never_fails_its_event() -> None:
    """Its work was done and must not be repeated: what cannot be kept is replaced, its neighbours stay."""
    assert await call(lambda events: [object(), 1]) == [
        Succeeded(b'{"unserialisable":"object"}', kept=False),
        Succeeded(b"1"),
    ]
    too_large = "x" * RESULT_BYTES_MAX
    assert (await call(lambda events: [too_large, 1]))[0] == Succeeded(b'{"too_large":65538}', kept=False)


async def test_a_result_that_blocks_fails_the_batch() -> None:
    """Its methods run in the thread of the source, under the timeout of the call."""
    gate = threading.Event()

    class Blocking(Decimal):
        def __str__(self) -> str:
            gate.wait(HANG_SECONDS)
            return "late"

    with pytest.raises(BatchFailed, match="timeout"):
        await call(lambda events: [Blocking(1), 1], 0.01)
    gate.set()


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
    """A foreign sequence ended the server."""

    class Sequence(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            raise ZeroDivisionError

    with pytest.raises(BatchFailed, match="ZeroDivisionError"):
        await call(lambda events: Sequence())


@pytest.mark.parametrize(
    "items", [[None], [None, None, None], itertools.repeat(None)], ids=["fewer", "more", "endless"]
)
async def test_an_answer_must_yield_its_length(items: Any) -> None:
    """A list whose iterator disagrees with its length ended the server, or never ended."""

    class Answer(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter(items)

    with pytest.raises(BatchFailed, match="one entry"):
        await call(lambda events: Answer([None, None]))


class Text(str):
    """A string that cannot be formatted."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        raise KeyError(spec)


class Nameless(type):
    """A metaclass that does not tell the name."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise ValueError("no name")


class Exits(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class Formats(Exception):
    def __str__(self) -> str:
        return Text("hi")


class Unnamed(Exception, metaclass=Nameless):
    pass


class Disguised(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise SystemExit(4)


HOSTILE = [(Exits, "Exits"), (Formats, "Formats: hi"), (Unnamed, "Unnamed"), (Disguised, "Disguised")]


@pytest.mark.parametrize(("kind", "words"), HOSTILE, ids=[words for _, words in HOSTILE])
@pytest.mark.parametrize("plain", [True, False])
async def test_an_unprintable_exception_is_a_failure(kind: type[Exception], words: str, plain: bool) -> None:
    """A SystemExit in `__str__`, a text with a raising `__format__`, a class without a name: each ended the server."""

    def function(events: list[dict[str, Any]]) -> None:
        raise kind

    async def asynchronous(events: list[dict[str, Any]]) -> None:
        raise kind

    with pytest.raises(BatchFailed) as caught:
        await call(function if plain else asynchronous)
    assert caught.value.error == words
    assert await call(lambda events: [kind(), 1]) == [Failed(words), Succeeded(b"1")]


@pytest.mark.parametrize("plain", [True, False])
async def test_answers_are_read_off_the_loop(plain: bool) -> None:
    """Hundreds of large results, made into JSON on the loop, held up every other source for seconds."""
    threads = []

    class Answer(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            threads.append(threading.get_ident())
            return super().__iter__()

    async def asynchronous(events: list[dict[str, Any]]) -> list[Any]:
        return Answer([1, 2])

    assert await call((lambda events: Answer([1, 2])) if plain else asynchronous) == [Succeeded(b"1"), Succeeded(b"2")]
    assert threads
    assert threading.get_ident() not in threads


async def test_the_processors_own_timeout_is_its_error() -> None:
    """A TooSlowError from a scope of its own was told as if the whole call had outrun its timeout."""

    async def asynchronous(events: list[dict[str, Any]]) -> None:
        with trio.fail_after(0):
            await trio.sleep_forever()

    def function(events: list[dict[str, Any]]) -> None:
        raise trio.TooSlowError

    for each in (asynchronous, function):
        with pytest.raises(BatchFailed, match=r"^TooSlowError$"):
            await call(each)


async def test_a_stale_cancellation_is_a_failure() -> None:
    """Raised again outside of its scope it cancels nobody: taken for our own it led to calls without pause."""
    saved: list[trio.Cancelled] = []

    async def function(events: list[dict[str, Any]]) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep_forever()
            except trio.Cancelled as error:
                saved.append(error)
                raise
        raise saved[0]

    with pytest.raises((BatchFailed, trio.Cancelled)) as caught:
        await call(function)
    assert isinstance(caught.value, BatchFailed)


async def test_a_cancelled_call_raises_nothing_else() -> None:
    """A call that is cancelled from outside and fails in its own clean-up is cancelled, and nothing else."""

    async def function(events: list[dict[str, Any]]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise SystemExit(1)

    with trio.CancelScope() as scope:
        scope.cancel()
        await call(function)
    assert scope.cancelled_caught


async def test_a_late_plain_call_keeps_its_thread() -> None:
    """The processor hangs until that call returns."""
    gate = threading.Event()
    processor = processor_of(lambda events: gate.wait(HANG_SECONDS))
    with pytest.raises(BatchFailed, match="timeout"):
        await processor(EVENTS, [1, 2], 0.01)
    assert not processor.ready
    gate.set()
    await processor.until_ready()
    assert processor.ready


async def test_a_late_async_call_is_cancelled() -> None:
    """Nothing of it goes on."""

    async def function(events: list[dict[str, Any]]) -> None:
        await trio.sleep_forever()

    with pytest.raises(BatchFailed, match="timeout"):
        await call(function, 0.01)


@pytest.mark.parametrize("plain", [True, False])
async def test_an_outage_is_told_from_a_failure(plain: bool) -> None:
    """Of a whole batch and of an entry alike; a class that the source names is one."""

    def function(events: list[dict[str, Any]]) -> None:
        raise error

    async def asynchronous(events: list[dict[str, Any]]) -> None:
        raise error

    found = []
    for error, names in [(TimeoutError(), ()), (KeyError(), ()), (KeyError(), ("builtins.LookupError",))]:
        with pytest.raises(BatchFailed) as caught:
            await call(function if plain else asynchronous, outages=names)
        failed, _ = await call(lambda events: [error, 1], outages=names)  # noqa: B023  # called at once
        assert isinstance(failed, Failed)
        found.append((caught.value.outage, failed.outage))
    assert found == [(True, True), (False, False), (True, True)]


@pytest.mark.parametrize("plain", [True, False])
async def test_an_exception_is_looked_at_off_the_loop(plain: bool) -> None:
    """One whose attributes block held up every source when it came from an async processor."""
    threads = []

    class Own(Exception):
        @property
        def response(self) -> None:
            threads.append(threading.get_ident())

        def __str__(self) -> str:
            threads.append(threading.get_ident())
            return "own"

    def function(events: list[dict[str, Any]]) -> None:
        raise Own

    async def asynchronous(events: list[dict[str, Any]]) -> None:
        raise Own

    with pytest.raises(BatchFailed, match="own"):
        await call(function if plain else asynchronous)
    assert len(threads) > 1
    assert threading.get_ident() not in threads


async def test_a_returned_coroutine_is_a_failure() -> None:
    """It would otherwise look like a success that did nothing."""

    async def inner() -> None:
        raise AssertionError

    with pytest.raises(BatchFailed, match="async"):
        await call(lambda events: inner())


async def test_any_error_is_kept_short_and_printable() -> None:
    """Surrogates, length, and a __str__ that raises."""

    class Strange(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert await call(lambda events: [Strange(), ValueError("\ud800" * 5000)]) == [
        Failed("Strange"),
        Failed("ValueError: " + "?" * 988),
    ]


def test_a_processor_is_loaded_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module beside the configuration is found; every way to be wrong is named."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "loading_good.py").write_text("def work(events): pass\nvalue = 1\n")
    (tmp_path / "loading_bad.py").write_text("raise SystemExit(3)\n")
    assert callable(load("loading_good:work", tmp_path))
    for spec in ("loading_good:absent", "loading_good:value", "loading_bad:work", "loading_absent:work"):
        with pytest.raises(ProcessorError, match=spec):
            load(spec, tmp_path)


BROKEN_MODULES = {
    "raises": "class Own(BaseException): pass\nraise Own('x')\n",
    "cancelled": "import asyncio\nraise asyncio.CancelledError\n",
    "interrupted": "raise KeyboardInterrupt\n",
    "closed": "raise GeneratorExit\n",
    "unprintable": "class Own(Exception):\n    def __str__(self): raise SystemExit\nraise Own\n",
    "attribute": "def __getattr__(name): raise KeyboardInterrupt\n",
    "lines": "raise ValueError('one\\ntwo')\n",
}


@pytest.mark.parametrize("name", BROKEN_MODULES)
def test_a_module_that_raises_anything_is_a_mistake(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only exceptions of the common kind were: others ended a running server at a reload; the mistake is one line."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / f"broken_{name}.py").write_text(BROKEN_MODULES[name])
    with pytest.raises(ProcessorError) as caught:
        load(f"broken_{name}:work", tmp_path)
    assert str(caught.value).startswith(f"cannot load processor 'broken_{name}:work': ")
    assert "\n" not in str(caught.value)


async def test_an_opaque_object_is_called_all_the_same() -> None:
    """Whether it is async was asked of the object itself, and its answer ended the server."""

    class Opaque:
        def __getattribute__(self, name: str) -> Any:
            raise SystemExit

        def __call__(self, events: list[dict[str, Any]]) -> None:
            pass

    assert await call(Opaque()) == [Succeeded(), Succeeded()]
