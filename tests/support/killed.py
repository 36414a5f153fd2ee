"""The `tidegate` command, killed in the middle of something: `killed.py FUNCTION NUMBER [OPTIONS] COMMAND …`.

From the first call of the function on (`module:name.name`), this process is killed before the NUMBER-th call of C that
the product makes in the thread of that call: a write, a flush, a step of a transaction, whatever comes. Calls are
counted rather than time, so that a kill can be repeated. The options are those of `faults.py`, and `--small-index`: the
dedup index goes into files early.
"""

import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from inspect import iscoroutinefunction
from itertools import count
from types import FrameType
from typing import Any

import server
import storage
from storage.dedup import index, spill
from tests.support import faults

PRODUCT = tuple(f"{next(iter(package.__path__))}{os.sep}" for package in (server, storage))


def arm(target: str, number: int) -> None:
    """Kill this process before that call; see above."""
    module, _, path = target.partition(":")
    owner: Any = import_module(module)
    *outer, name = path.split(".")
    for each in outer:
        owner = getattr(owner, each)
    setattr(owner, name, _armed(getattr(owner, name), _killer(number)))


def _killer(number: int) -> Callable[[FrameType, str, Any], None]:
    calls = count(1)

    def before_call(frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call" and frame.f_code.co_filename.startswith(PRODUCT) and next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return before_call


def _armed(function: Any, before_call: Callable[[FrameType, str, Any], None]) -> Any:
    def plain(*arguments: Any, **named: Any) -> Any:
        sys.setprofile(before_call)
        return function(*arguments, **named)

    async def asynchronous(*arguments: Any, **named: Any) -> Any:
        sys.setprofile(before_call)
        return await function(*arguments, **named)

    return asynchronous if iscoroutinefunction(function) else plain


def main() -> None:
    target, number, *rest = sys.argv[1:]
    if "--small-index" in rest:
        rest.remove("--small-index")
        index.SEAL_EVENTS, spill.STEP_BYTES = 16, 1024
    arm(target, int(number))
    sys.argv = ["tidegate", *rest]
    faults.main()


if __name__ == "__main__":
    main()
