"""The process of a server: from its configuration file to an exit code."""

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

from server.base import log
from server.base.streams import StandardOutput, take_over
from server.base.worker import NoThread
from server.config.load import Config, load
from server.flow.engine import load_processors
from server.flow.runner import Function
from server.runtime.app import Server
from server.runtime.binding import bind
from server.runtime.cautions import warn
from server.runtime.descriptors import made_since, open_now, watched
from server.runtime.forking import let_go_in_children
from server.runtime.open_files import check_open_files, raise_open_files
from server.runtime.signals import drain_on_signals
from storage.errors import StoreDamaged, StoreError
from storage.lmdb_store.environment import Store

LOCK_WAIT_SECONDS = 2.0
"""At the start, for a command that just looks at the store after a crash. A server holds the lock for good."""


class Bound(NamedTuple):
    """The sockets of both sides."""

    public: Sequence[socket.socket]
    admin: Sequence[socket.socket]


def serve(path: Path, style: log.Style = log.DEFAULT_STYLE) -> int:
    """Serve the configuration in this file until a signal ends it; return the exit code of the process.

    Raises ConfigError, ProcessorError, StoreError, OSError if it cannot start.
    """
    standard = take_over(partial(log.lines_lost, style=style))
    log.configure(standard.log, style)
    try:
        return _run(path, standard)
    finally:
        standard.lead_here()


def _run(path: Path, standard: StandardOutput) -> int:
    check_open_files()
    config = load(path)
    functions = load_processors(config.sources, config.path.parent)
    warn(config.sources, functions, log.get("tidegate"))
    bound = Bound(bind(config.server.bind), bind(config.server.admin_bind))
    storage = config.storage
    store = Store.open(
        storage.path, map_size_bytes=storage.map_size_bytes, mode="write", lock_wait_seconds=LOCK_WAIT_SECONDS
    )
    if store.is_new:
        log.get("tidegate").info("new store", path=str(store.path))
    let_go_in_children(store.lock_path, {sock.getsockname()[1] for side in bound for sock in side})
    raise_open_files()
    try:
        trio.run(partial(_serve, before=open_now()), config, functions, store, bound, standard)
    except BaseException as error:  # noqa: BLE001 - whatever ends the server is said, in one line; no exit is its own
        with suppress(BaseException):  # a processor may have replaced what says it
            _say_end(error, store.path)
        return 1  # the store stays open: a thread may still be in it
    store.close()
    return 0


def _say_end(error: BaseException, path: Path) -> None:
    """Say what ended the server while it ran."""
    cause = _store_error_in(error)
    if isinstance(error, NoThread):
        log.get("tidegate").error("the server cannot start: a limit of threads or of memory", error=str(error))
    elif isinstance(cause, StoreDamaged):
        log.get("tidegate").error("the store is damaged: run tidegate verify", path=str(path), error=str(cause))
    elif cause is not None:
        log.get("tidegate").error("the store cannot be used", path=str(path), error=str(cause))
    else:
        log.get("tidegate").error("the server has failed", error=repr(error), exc_info=error)


def _store_error_in(error: BaseException) -> StoreError | None:
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_store_error_in, error.exceptions)), None)
    return error if isinstance(error, StoreError) else None


async def _serve(
    config: Config,
    functions: dict[str, Function],
    store: Store,
    bound: Bound,
    standard: StandardOutput,
    *,
    before: frozenset[int],
) -> None:
    """Serve until a signal. `before`: what was open before the loop, whose own descriptors are watched too: without the
    one that wakes it, it would go round for ever."""
    of_the_loop = made_since(before)
    server = Server(config, functions, store, lambda: standard.dropped)
    ending = server.suspects.ending
    signalled = drain_on_signals(
        server.drain_requested.set, ending, config.limits.drain_timeout_seconds, server.in_hand, standard.say_last
    )
    listening = [sock.fileno() for side in bound for sock in side]
    numbers = [*of_the_loop, *server.descriptors, *standard.descriptors, *listening]

    def end() -> None:
        standard.flush()
        os._exit(1)

    try:
        with signalled, watched(numbers, server.drain_requested.is_set, end):
            async with trio.open_nursery() as nursery:
                await server.start(nursery, bound.public, bound.admin)
                await server.drain_requested.wait()
                await server.drain()
                nursery.cancel_scope.cancel()
    finally:
        ending()
