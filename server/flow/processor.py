"""Processors: load `module:function`, call it with a batch, and say what became of each event.

A processor is async or plain. An async one runs in its source's consumer task; a plain one in a thread of its
source's own, where a second call never starts beside one that hangs, and what a hanging one returns late is discarded.
What both return or raise is looked at in that thread: it may be large, and looking at a foreign object runs its
methods.

Nothing that a processor raises or returns ends the server, whatever its methods do when they are looked at. A process
that it forks and that comes back from it ends there: it would go on as a second server.
"""

import importlib
import inspect
import math
import os
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import trio

from server.base.printable import one_line, type_name
from server.base.worker import Worker
from server.flow.names import why_taken
from server.flow.outages import is_outage
from server.flow.results import result_of
from server.flow.unsuited import replaced_by
from storage.in_hand.in_hand import Hand

ERROR_CHARACTERS_MAX = 1000
"""Of an error kept with a dead event: enough for the last line of a traceback."""


class ProcessorError(Exception):
    """The processor cannot be loaded. The message says why."""


class BatchFailed(Exception):
    """The whole batch failed. `outage`: the world behind the processor is away, and nothing is counted. `late`: the
    call has outrun its timeout."""

    def __init__(self, error: str, *, outage: bool = False, late: bool = False) -> None:
        super().__init__(error)
        self.error = error
        self.outage = outage
        self.late = late


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The event was processed. `result` is JSON, if there is any: what was returned, or, not `kept`, in its place."""

    result: bytes | None = None
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Failed:
    """The event failed by its own entry. `outage`: as of a failed batch."""

    error: str
    outage: bool = False


Entries = list[Succeeded | Failed] | BatchFailed

Job = Callable[[int, Collection[str]], Entries]
"""Runs in the worker; takes how many entries there must be, and names for `is_outage`."""


def load(spec: str, directory: Path) -> Callable[..., Any]:
    """Return the function that `module:function` names; `directory` (the configuration's) is searched last.

    Raises `ProcessorError`. A module that is loaded already is not imported anew.
    """
    module_name, _, function_name = spec.partition(":")
    taken = why_taken(module_name, directory)
    if taken is not None:
        raise ProcessorError(f"cannot load processor {spec!r}: {taken}")
    if str(directory) not in sys.path:
        sys.path.append(str(directory))
    try:
        found = importlib.import_module(module_name)
        for name in function_name.split("."):
            found = getattr(found, name)
    except BaseException as error:  # noqa: BLE001  # importing runs code that is not ours
        _check_unpatched(spec)
        raise ProcessorError(f"cannot load processor {spec!r}: {one_line(describe(error))}") from None
    _check_unpatched(spec)
    if not callable(found):
        raise ProcessorError(f"processor {spec!r} is not callable")
    return found


def _check_unpatched(spec: str) -> None:
    """Raise ProcessorError if this processor's module has changed the standard library, and undo that."""
    if changed := replaced_by(spec.partition(":")[0]):
        words = (
            "replaced in the standard library, as monkey patching does for gevent or eventlet: trio needs it as it was"
        )
        raise ProcessorError(f"cannot use processor {spec!r}: {', '.join(changed)} {words}")


class Processor:
    """One source's processor, ready to be called."""

    def __init__(self, function: Callable[..., Any], worker: Worker, hand: Hand) -> None:
        self._function = function
        self._worker = worker
        self._hand = hand
        self._is_async = is_async(function)
        self._pid = os.getpid()

    @property
    def ready(self) -> bool:
        """Its source's thread is there, and no plain call is running in it, such as one that has outrun its timeout."""
        return self._worker.has_thread and not self._worker.busy

    async def until_ready(self) -> None:
        """Return when it is; takes the thread before the first call."""
        await self._worker.take_thread()
        await self._worker.idle()

    async def __call__(
        self,
        events: list[dict[str, Any]],
        numbers: Sequence[int],
        timeout_seconds: float,
        outages: Collection[str] = (),
    ) -> list[Succeeded | Failed]:
        """Return one entry for each event. Raises `BatchFailed`. `outages`: names for `is_outage`.

        The events are in hand until the function has returned and its answer is read, however late that is.
        """
        job: Job | None = partial(_call, self._function, events, self._pid)
        if self._is_async:
            with self._hand.holding(numbers):
                job = await self._awaited(events, timeout_seconds)
        if job is None:
            return [Succeeded()] * len(numbers)
        try:
            entries = await self._worker.run(self._in_hand, job, numbers, outages, timeout_seconds=timeout_seconds)
        except trio.TooSlowError as error:
            raise _outran(timeout_seconds) from error
        if isinstance(entries, BatchFailed):
            raise entries
        return entries

    def _in_hand(self, job: Job, numbers: Sequence[int], outages: Collection[str]) -> Entries:
        with self._hand.holding(numbers):
            entries = job(len(numbers), outages)
            _end_if_forked(self._pid)
            return entries

    async def _awaited(self, events: list[dict[str, Any]], timeout_seconds: float) -> Job | None:
        """Call the function; return the job that looks at what it returned or raised, or None if that is None."""
        try:
            with trio.move_on_after(timeout_seconds):
                returned = await self._function(events)
                _end_if_forked(self._pid)
                return None if returned is None else partial(_read, returned)
        except BaseException as error:  # noqa: BLE001  # whatever foreign code raises is its failure
            _end_if_forked(self._pid, error)
            if trio.current_effective_deadline() == -math.inf:  # cancelled from outside: what it raised says nothing
                await trio.lowlevel.checkpoint()
            return partial(_failed, error)
        raise _outran(timeout_seconds)


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether this processor is called on the loop."""
    try:
        return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004  # the method itself is inspected, not callability
        )
    except BaseException:  # noqa: BLE001  # a foreign object may raise anything while it is looked at
        return False


def _end_if_forked(server: int, error: BaseException | None = None) -> None:
    """End this process if it is not the server, with the exit code that Python would give it."""
    if os.getpid() != server:
        code = error.code if type(error) is SystemExit else int(error is not None)
        os._exit(code & 0xFF if isinstance(code, int) else int(code is not None))


def _outran(timeout_seconds: float) -> BatchFailed:
    return BatchFailed(f"outran its timeout of {timeout_seconds:g} s", late=True)


def _call(
    function: Callable[..., Any], events: list[dict[str, Any]], server: int, count: int, outages: Collection[str]
) -> Entries:
    """In the worker, as what follows: return what the function returns, as entries. Raises nothing."""
    try:
        returned = function(events)
    except BaseException as error:  # noqa: BLE001  # whatever foreign code raises is its failure
        _end_if_forked(server, error)
        return _failed(error, count, outages)
    return _read(returned, count, outages)


def _failed(error: BaseException, _: int, outages: Collection[str]) -> BatchFailed:
    return BatchFailed(describe(error), outage=is_outage(error, outages))


def _read(returned: object, count: int, outages: Collection[str]) -> Entries:
    try:
        if returned is None:
            return [Succeeded()] * count
        if inspect.iscoroutine(returned):
            returned.close()
            return BatchFailed("TypeError: a plain function returned a coroutine; declare it async")
        if isinstance(returned, Sequence) and not isinstance(returned, (str, bytes)):
            entries = list(islice(returned, count + 1))  # its length is what it yields, not what it says
            if len(entries) == count:
                return [_entry(entry, outages) for entry in entries]
    except BaseException as error:  # noqa: BLE001  # the methods of its answer may raise anything
        return _failed(error, count, outages)
    return BatchFailed(f"returned neither None nor one entry for each of {count} events")


def _entry(entry: object, outages: Collection[str]) -> Succeeded | Failed:
    if entry is None:
        return Succeeded()
    if issubclass(type(entry), BaseException):
        assert isinstance(entry, BaseException)
        return Failed(describe(entry), outage=is_outage(entry, outages))
    return Succeeded(*result_of(entry))


def describe(error: object) -> str:
    """Return the type and message of an exception, of bounded length and always valid Unicode. Raises nothing."""
    name, text = type_name(error), ""
    with suppress(BaseException):  # a foreign __str__ may raise anything
        text = str.__str__(str(error))
    words = f"{name}: {text}" if text else name
    return words[:ERROR_CHARACTERS_MAX].encode("utf-8", "replace").decode()
