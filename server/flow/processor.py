"""Processors: load `module:function`, call it with a batch, and say what became of each event.

A processor is async or plain. An async one runs in its source's consumer task; a plain one in a thread of its
source's own, where a second call never starts beside one that hangs, and what a hanging one returns late is discarded.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import trio

from server.worker import Worker

RESULT_BYTES_MAX = 65536
"""Of one event's result as JSON: a result is a note beside the event, not a second payload."""

ERROR_CHARACTERS_MAX = 1000
"""Of an error kept with a dead event: enough for the last line of a traceback."""

FILE_ERRORS = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)
"""`OSError`s that say something about this host's files, not that the world is away."""


class ProcessorError(Exception):
    """The processor cannot be loaded. The message says why."""


class BatchFailed(Exception):
    """The whole batch failed. `outage`: the world behind the processor is away, and nothing is counted."""

    def __init__(self, error: str, *, outage: bool = False) -> None:
        super().__init__(error)
        self.error = error
        self.outage = outage


@dataclass(frozen=True, slots=True)
class Done:
    """The event was processed; `result` is its JSON, if there is any."""

    result: bytes | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The event failed by its own entry."""

    error: str


def load(spec: str, directory: Path) -> Callable[..., Any]:
    """The function that `module:function` names; `directory` (the configuration's) is searched last.

    Raises `ProcessorError`. A module that is loaded already is not imported anew.
    """
    module_name, _, function_name = spec.partition(":")
    if str(directory) not in sys.path:
        sys.path.append(str(directory))
    try:
        found = importlib.import_module(module_name)
        for name in function_name.split("."):
            found = getattr(found, name)
    except (Exception, SystemExit) as error:  # importing runs code that is not ours
        raise ProcessorError(f"cannot load processor {spec!r}: {describe(error)}") from error
    if not callable(found):
        raise ProcessorError(f"processor {spec!r} is not callable")
    return found


class Processor:
    """One source's processor, ready to be called."""

    def __init__(self, function: Callable[..., Any], worker: Worker) -> None:
        self._function = function
        self._worker = worker
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004  # the method itself is inspected, not callability
        )

    @property
    def hanging(self) -> bool:
        """A plain call is still running, perhaps one that has outrun its timeout."""
        return self._worker.busy

    async def free(self) -> None:
        """Return when no plain call is running."""
        await self._worker.idle()

    async def __call__(self, events: list[dict[str, Any]], timeout_seconds: float) -> list[Done | Failed]:
        """One entry an event, or `BatchFailed`."""
        count = len(events)
        try:
            return _entries(await self._call(events, timeout_seconds), count)
        except BatchFailed:
            raise
        except trio.TooSlowError as error:
            raise BatchFailed(f"outran its timeout of {timeout_seconds:g} s") from error
        except BaseException as error:  # whatever foreign code raises is its failure, in its answer's methods too
            if _is_ours(error):
                raise
            raise BatchFailed(describe(error), outage=is_outage(error)) from error

    async def _call(self, events: list[dict[str, Any]], timeout_seconds: float) -> object:
        if self._is_async:
            with trio.fail_after(timeout_seconds):
                return await self._function(events)
        returned = await self._worker.run(self._function, events, timeout_seconds=timeout_seconds)
        if inspect.iscoroutine(returned):
            returned.close()
            raise TypeError("a plain function returned a coroutine; declare it async")
        return returned


def _entries(returned: object, count: int) -> list[Done | Failed]:
    if returned is None:
        return [Done()] * count
    if not isinstance(returned, Sequence) or isinstance(returned, (str, bytes)) or len(returned) != count:
        raise BatchFailed(f"returned neither None nor one entry for each of {count} events")
    return [_entry(entry) for entry in returned]


def _entry(entry: object) -> Done | Failed:
    if entry is None:
        return Done()
    if isinstance(entry, BaseException):
        return Failed(describe(entry))
    try:
        result = orjson.dumps(entry, option=orjson.OPT_PASSTHROUGH_DATACLASS)  # one with an empty slot: SIGSEGV
    except Exception as error:  # noqa: BLE001  # a foreign object may raise anything while it is looked at
        return Failed(f"its result is no JSON: {describe(error)}")
    if len(result) > RESULT_BYTES_MAX:
        return Failed(f"its result of {len(result)} bytes is over {RESULT_BYTES_MAX}")
    return Done(result)


def _is_ours(error: BaseException) -> bool:
    """The call was cancelled from outside, alone or beside something else that it raised."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(trio.Cancelled) is not None
    return isinstance(error, trio.Cancelled)


def is_outage(error: BaseException) -> bool:
    """Says this exception that the world behind the processor is away? Of a group, all of it must."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_outage(inner) for inner in error.exceptions)
    return isinstance(error, OSError) and not isinstance(error, FILE_ERRORS)


def describe(error: BaseException) -> str:
    """Type and message, of bounded length and always valid Unicode."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # a foreign __str__ may raise anything
        text = ""
    words = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return words[:ERROR_CHARACTERS_MAX].encode("utf-8", "replace").decode()
