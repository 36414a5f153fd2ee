"""Processors that do what none should, copied beside a configuration: `do` in the payload of the one event names what.

`ANSWERS`: what is raised or returned; nothing but the event's own fate may come of it. `MEDDLES`: what belongs to the
whole process is changed; the server must go on. `HARMS`: the process ends, or can no longer work; what was acknowledged
must be there at the next start. A harm is done once: the file `done-NAME` says so.
"""

import asyncio
import atexit
import builtins
import ctypes
import gc
import json
import locale
import logging
import os
import random
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import trio

HERE = Path(__file__).parent
Events = list[dict[str, Any]]
Do = Callable[[Events], Any]
KEPT: list[Any] = []
MEBIBYTE = 2**20


def plain(events: Events) -> Any:
    """Do what the event says."""
    return WAYS[events[0]["payload"]["do"]](events)


async def asynchronous(events: Events) -> Any:
    """The same, on the server's loop."""
    return WAYS[events[0]["payload"]["do"]](events)


class Liar(list):  # type: ignore[type-arg]  # as such code is
    """Says one length and has another."""

    def __len__(self) -> int:
        return 10**9


class Bomb:
    """Raises whatever is asked of it."""

    def __getattribute__(self, name: str) -> NoReturn:
        raise KeyboardInterrupt(name)

    def __eq__(self, other: object) -> NoReturn:
        raise SystemExit(3)

    def __hash__(self) -> NoReturn:
        raise GeneratorExit

    def __repr__(self) -> NoReturn:
        raise MemoryError

    __str__ = __repr__

    def __bool__(self) -> NoReturn:
        raise RecursionError

    def __iter__(self) -> NoReturn:
        raise SystemExit(4)

    def __len__(self) -> int:
        raise KeyboardInterrupt


class BombError(Exception):
    """An exception that raises when it is looked at."""

    def __getattribute__(self, name: str) -> NoReturn:
        raise SystemExit(name)

    def __str__(self) -> NoReturn:
        raise KeyboardInterrupt

    __repr__ = __str__


class Text(str):
    """A text that is none when it is written."""

    __slots__ = ()

    def encode(self, *_: object) -> NoReturn:
        raise SystemExit(5)

    def __str__(self) -> NoReturn:
        raise SystemExit(6)


def raising(error: type[BaseException], *arguments: object) -> Do:
    def raises(events: Events) -> NoReturn:
        raise error(*arguments)

    return raises


def returning(make: Callable[[], object]) -> Do:
    return lambda events: make()


def circle() -> object:
    found: list[object] = []
    found.append(found)
    return [found]


def deep() -> object:
    found: object = None
    for _ in range(100_000):
        found = [found]
    return [found]


def endless() -> Iterator[int]:
    while True:
        yield 1


def recursion(events: Events) -> Any:
    return recursion(events)


def deletes_all(events: Events) -> None:
    for event in events:
        event.clear()
    del events[:]


def keeps_all(events: Events) -> list[object]:
    KEPT.append(events)
    events[0]["self"] = events
    return events  # type: ignore[return-value]  # as a result, with a circle in it


def in_a_thread(function: Callable[[], object]) -> Do:
    def starts(events: Events) -> None:
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()

    return starts


def stays(events: Events) -> None:
    threading.Thread(target=threading.Event().wait).start()


def runs_trio(events: Events) -> None:
    trio.run(trio.sleep, 0)


def runs_asyncio(events: Events) -> None:
    asyncio.run(asyncio.sleep(0))


def forks(code: Callable[[], object]) -> Do:
    def forks_and_waits(events: Events) -> Any:
        child = os.fork()
        if not child:
            return code()
        os.waitpid(child, 0)
        return None

    return forks_and_waits


def runs_true() -> None:
    os.execv("/bin/true", ["true"])  # noqa: S606 - that is the point


def prints_much(events: Events) -> None:
    for _ in range(2000):
        sys.stdout.write("x" * 999 + "\n")
        sys.stdout.write('{"event": "ready"}\n')


ANSWERS: Mapping[str, Do] = {
    "raise": raising(ValueError, "bad"),
    "raise base": raising(BaseException),
    "raise interrupt": raising(KeyboardInterrupt),
    "raise exit": raising(SystemExit, 3),
    "raise generator exit": raising(GeneratorExit),
    "raise memory": raising(MemoryError),
    "raise stop": raising(StopIteration, 1),
    "raise cancelled": raising(asyncio.CancelledError),
    "raise group": raising(BaseExceptionGroup, "all", [KeyboardInterrupt(), SystemExit(1)]),
    "raise bomb": raising(BombError),
    "raise half a pair": raising(ValueError, "\ud800" * 5000),
    "raise in 20 MB": raising(ValueError, "x" * 20 * MEBIBYTE),
    "exit in a thread": in_a_thread(lambda: sys.exit(3)),
    "recursion": recursion,
    "generator": returning(endless),
    "coroutine": returning(lambda: asyncio.sleep(0)),
    "set": returning(lambda: {1}),
    "text": returning(lambda: "x"),
    "number": returning(lambda: 1),
    "too many": returning(lambda: [None] * 10**6),
    "liar": returning(lambda: Liar([None])),
    "bomb": returning(Bomb),
    "entry is a bomb": returning(lambda: [Bomb()]),
    "entry is an exception class": returning(lambda: [ValueError]),
    "entry raises": returning(lambda: [BombError()]),
    "entry holds a bomb": returning(lambda: [{"deep": [Bomb()]}]),
    "key is a bomb": returning(lambda: [{Text("x"): 1}]),
    "text that raises": returning(lambda: [Text("x")]),
    "circle": returning(circle),
    "deep": returning(deep),
    "huge": returning(lambda: ["x" * 50 * MEBIBYTE]),
    "huge number": returning(lambda: [1 << 200_000]),
    "bytes": returning(lambda: [b"x"]),
    "not a number": returning(lambda: [float("nan")]),
    "half a pair": returning(lambda: ["\ud800"]),
    "deletes": deletes_all,
    "keeps": keeps_all,
    "runs trio": runs_trio,
    "runs asyncio": runs_asyncio,
    "fork and return": forks(lambda: None),
    "fork and raise": forks(lambda: recursion([])),
    "fork and exit": forks(lambda: sys.exit(1)),
    "fork and exec": forks(runs_true),
    "prints much": prints_much,
    "thread that stays": stays,
}


def meddling(name: str) -> Callable[[Do], Do]:
    def register(function: Do) -> Do:
        MEDDLES[name] = function
        return function

    return register


MEDDLES: dict[str, Do] = {}
HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@meddling("world")
def changes_its_world(events: Events) -> None:
    os.chdir("/")
    os.umask(0)
    os.environ.clear()
    locale.setlocale(locale.LC_ALL, "C")
    os.nice(1)
    random.seed(1)
    socket.setdefaulttimeout(0.0001)
    tempfile.tempdir = "/nowhere"


@meddling("garbage collector")
def stops_collecting(events: Events) -> None:
    gc.disable()
    gc.freeze()
    gc.set_threshold(0)
    gc.callbacks.append(raising(SystemExit))  # type: ignore[arg-type]  # whatever it gets


@meddling("logging")
def stops_logging(events: Events) -> None:
    logging.disable(logging.CRITICAL)
    logging.shutdown()
    warnings.simplefilter("error")


@meddling("streams")
def closes_the_streams(events: Events) -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        assert stream is not None
        stream.close()
        stream.detach() if hasattr(stream, "detach") else None
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = None  # type: ignore[misc]  # on purpose


@meddling("hooks")
def replaces_hooks(events: Events) -> None:
    for module, name in ((threading, "excepthook"), (sys, "unraisablehook"), (sys, "excepthook")):
        setattr(module, name, raising(SystemExit))
    sys.setrecursionlimit(200)


@meddling("tracing")
def traces(events: Events) -> None:
    def trace(*_: object) -> NoReturn:
        raise SystemExit

    threading.settrace(trace)
    threading.setprofile(trace)


@meddling("switch interval")
def never_switches(events: Events) -> None:
    sys.setswitchinterval(100)


@meddling("signal handlers")
def masks_signals(events: Events) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    libc = ctypes.CDLL(None)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        libc.signal(number, 0)


@meddling("wake-up")
def sets_wakeup(events: Events) -> None:
    signal.set_wakeup_fd(-1)


@meddling("wall clock")
def replaces_time(events: Events) -> None:
    time.time = lambda: 0.0
    time.time_ns = lambda: 0


@meddling("monotonic clock")
def replaces_monotonic(events: Events) -> None:
    time.monotonic = lambda: 0.0
    time.perf_counter = raising(SystemExit)  # type: ignore[assignment]  # on purpose


@meddling("exit")
def exits_at_exit(events: Events) -> None:
    atexit.register(os._exit, 9)
    atexit.register(raising(SystemExit), events)
    atexit.register(time.sleep, 1000)


@meddling("stdout of C")
def fills_stdout(events: Events) -> None:
    for number in (1, 2):
        os.write(number, b"\xff\x00 not a line of the log" * 100)


@meddling("stack of threads")
def makes_small_stacks(events: Events) -> None:
    threading.stack_size(32768)


def once(name: str, function: Callable[[], object]) -> Do:
    def harm(events: Events) -> None:
        try:
            os.close(os.open(HERE / f"done-{name.replace(' ', '-')}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return
        function()

    return harm


def closes_all() -> None:
    os.closerange(3, 65536)


def closes_every_file() -> None:
    os.closerange(0, 65536)


def closes(kind: str) -> Callable[[], None]:
    """Close the descriptors that lead to something with this in its name."""

    def close() -> None:
        for entry in Path("/proc/self/fd").iterdir():
            try:
                if kind in str(entry.readlink()):
                    os.close(int(entry.name))
            except OSError:
                continue

    return close


def lowers_limits() -> None:
    for which, soft in ((resource.RLIMIT_NOFILE, 20), (resource.RLIMIT_NPROC, 1), (resource.RLIMIT_FSIZE, MEBIBYTE)):
        _, hard = resource.getrlimit(which)
        resource.setrlimit(which, (soft, hard))


def replaces_fsync() -> None:
    os.fsync = os.fdatasync = raising(SystemExit)  # type: ignore[assignment]  # on purpose


def replaces_json() -> None:
    json.dumps = json.loads = raising(SystemExit)  # type: ignore[assignment]  # on purpose


def replaces_builtins() -> None:
    builtins.print = builtins.repr = raising(SystemExit)  # type: ignore[assignment]  # on purpose


def ends_its_thread() -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), ctypes.py_object(SystemExit))


def ignores_signals() -> None:
    """On the loop it can."""
    for number in HEARD:
        signal.signal(number, signal.SIG_IGN)


def unlinks_the_store() -> None:
    for path in (HERE / "data").iterdir():
        path.unlink()


def eats_memory() -> None:
    soft = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 64 * MEBIBYTE
    resource.setrlimit(resource.RLIMIT_AS, (soft, resource.getrlimit(resource.RLIMIT_AS)[1]))
    while True:
        KEPT.append(bytearray(MEBIBYTE))


def alarms() -> None:
    signal.alarm(1)


def lowers_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**28, resource.getrlimit(resource.RLIMIT_AS)[1]))


HARMS: Mapping[str, Do] = {
    name: once(name, function)
    for name, function in {
        "exit at once": lambda: os._exit(7),
        "null pointer": lambda: ctypes.string_at(0),
        "abort": os.abort,
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "own SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
        "own SIGINT": lambda: os.kill(os.getpid(), signal.SIGINT),
        "own SIGHUP": lambda: os.kill(os.getpid(), signal.SIGHUP),
        "alarm": alarms,
        "exec": runs_true,
        "close all": closes_all,
        "close every file": closes_every_file,
        "close 1 and 2": lambda: os.closerange(1, 3),
        "close sockets": closes("socket:"),
        "close event files": closes("anon_inode:"),
        "close journal": closes("journal"),
        "close data": closes("data.mdb"),
        "close in-hand": closes("in-hand"),
        "close locks": closes("lock"),
        "close pipes": closes("pipe:"),
        "eat memory": eats_memory,
        "memory limit": lowers_memory,
        "lower limits": lowers_limits,
        "replace fsync": replaces_fsync,
        "replace json": replaces_json,
        "replace builtins": replaces_builtins,
        "ignore signals": ignores_signals,
        "end the thread": ends_its_thread,
    }.items()
}
CLOSINGS: Mapping[str, Do] = {
    (name := f"close file {number}"): once(name, partial(os.closerange, number, number + 1)) for number in range(3, 40)
}
UNLINKS = {"unlink store": once("unlink store", unlinks_the_store)}

WAYS = {**ANSWERS, **MEDDLES, **HARMS, **CLOSINGS, **UNLINKS}
