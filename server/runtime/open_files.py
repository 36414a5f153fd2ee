"""How many files may be open: in this process as many as it is allowed, in its children as many as before.

A connection is an open file. In a child a high limit does harm: `select` takes no descriptor over 1023, and what closes
every possible descriptor takes a second for a million of them.
"""

import contextlib
import os
import resource
from collections.abc import Callable
from functools import partial
from multiprocessing import util

from server.base import log

OPEN_FILES_MIN = 64
"""What a start asks for: the server itself has about 25, and what is left is for connections and processors."""

Limits = tuple[int, int]


def check_open_files() -> None:
    """Raise OSError if this process may not have as many as a server needs."""
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed < OPEN_FILES_MIN:
        raise OSError(f"this process may have {allowed} open files, and needs {OPEN_FILES_MIN}: raise `ulimit -n`")


def raise_open_files() -> None:
    """Allow as many as this process may have. Where that is refused it goes on with what it has, and a warning.

    Call after `let_go_in_children`: what happens to the files in a child comes before their limit does.
    """
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    except (OSError, ValueError) as error:
        log.get("tidegate").warning("the limit of open files stays as it is", limit=before[0], error=str(error))
    else:
        _put_back_in_children(before)


def _put_back_in_children(before: Limits) -> None:
    """In those that `os.fork` makes, and `multiprocessing`, whose other methods run a new program without a fork that
    Python hears of."""
    os.register_at_fork(after_in_child=partial(_put_back, 0, before))
    util.spawnv_passfds = partial(_spawn, util.spawnv_passfds, before)


def _spawn(spawn: Callable[..., int], before: Limits, *command: object) -> int:
    pid = spawn(*command)
    _put_back(pid, before)
    return pid


def _put_back(pid: int, before: Limits) -> None:
    with contextlib.suppress(OSError, ValueError):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
