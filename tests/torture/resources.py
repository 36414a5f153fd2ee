"""A host that has little left: open files, processes, memory, address space, and room that a dead reader pins."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from random import Random
from threading import Thread

import lmdb

from server.config.capacity import plan, read_machine
from server.config.load import load
from tests.support.cgroups import Group, group
from tests.support.client import item
from tests.support.config import source
from tests.support.file_systems import NotHere
from tests.support.ledger import pending, read_books
from tests.support.load import SECTIONS, SOURCES, Acknowledged, Load
from tests.support.readers import other_readers
from tests.support.server import Child, Children
from tests.support.waiting import eventually
from tests.torture.fault import Fault, Impossible, Round
from tests.torture.judge import judged

OPEN_FILES = 96
THREADS = 3
"""A server cannot start with so few."""
CONTAINERS = 60_000
SMALL = """
[limits]
connections_max = 64
in_flight_bytes_max = 8388608
[queue]
bytes_max = 4194304
events_max = 1000
[dedup]
memory_ids_max = 262144
"""
"""Limits of which the memory can be reached by a few clients."""
CLIENTS, REQUESTS = 16, 12
TIGHT_BYTES = 96 * 2**20
PINNED_POSTS = 120


def no_open_files(seed: int, directory: Path) -> Round:
    """Strangers' connections take every open file: who was connected is served, and others once those are gone."""
    with Children(directory) as children:
        child = children(SECTIONS)
        child.command = ["prlimit", f"--nofile={OPEN_FILES}:{OPEN_FILES}", *child.command]
        child.start()
        with child.session() as session:
            assert session.post("archive", item("before")).status == 200
            with strangers(child.port, 3 * OPEN_FILES):
                for at in range(20):
                    assert session.post("worked", item(f"meanwhile-{at}")).status == 200
        return _killed_under_load(child, seed, [])


@contextmanager
def strangers(port: int, count: int) -> Iterator[None]:
    """So many connections that say nothing."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        yield


def no_threads(seed: int, directory: Path) -> Round:
    """In a group with too few processes a start says so; where only processors' threads are missing, events wait."""
    with _group("pids", THREADS) as limited, Children(directory) as children:
        child = children(SECTIONS)
        command, child.command = child.command, limited.command(child.command)
        code, words = child.start_that_fails()
        assert (code, words.count('"level": "error"')) == (1, 1), words
        limited.limit("max")
        child.start()
        limited.limit((limited.path / "pids.current").read_text())
        assert child.post("worked", item("waits")).status == 200
        eventually(lambda: _warnings(child) == ["threads"])
        assert pending(child, "worked") == 1
        limited.limit("max")
        eventually(lambda: pending(child, "worked") == 0)
        child.command = command
        return _killed_under_load(child, seed, [])


def _warnings(child: Child) -> list[str]:
    return [each["warning"] for each in child.request("GET", "/readyz").json.get("warnings", [])]


def planned_memory(seed: int, directory: Path) -> Round:
    """In a group that has just the memory of `check`'s plan, the heaviest load that is legal does not end it."""
    with Children(directory) as children:
        child = children(SMALL + SECTIONS)
        config = load(child.config)
        with _group("memory", plan(config, read_machine(config.storage.path)).memory_bytes) as limited:
            child.command = limited.command(child.command)
            child.start()
            pressed, unanswered = press(child, seed)
            assert not child.has_ended, "it was killed"
            assert pressed
            return _at_rest(child, pressed, unanswered=unanswered)


def tight_memory(seed: int, directory: Path) -> Round:
    """In a group that has too little, the kernel may end it at any moment; elsewhere it starts with everything."""
    with Children(directory) as children:
        child = children(SMALL + SECTIONS)
        with _group("memory", TIGHT_BYTES) as limited:
            command, child.command = child.command, limited.command(child.command)
            child.start_if_it_can()
            pressed, unanswered = press(child, seed) if child.port else ([], [])
            child.kill()
        child.command = command
        child.start()
        assert child.post("archive", item("afterwards")).status == 200
        return _at_rest(child, pressed, unanswered=unanswered)


def press(child: Child, seed: int) -> tuple[list[Acknowledged], list[tuple[str, str]]]:
    """Send bodies that take as much memory to parse as any may, from many clients.

    Return what was acknowledged, and what had no answer, since the server was killed.
    """
    acknowledged: list[Acknowledged] = []
    unanswered: list[tuple[str, str]] = []

    def client(number: int) -> None:
        with suppress(OSError, HTTPException), child.session() as session:
            for at in range(REQUESTS):
                name = SOURCES[(number + at) % 2]
                event_id = f"{seed}-{number}-{at}"
                body = f'{{"inbound_event_id":"{event_id}","payload":[{",".join(["{}"] * CONTAINERS)}]}}'
                unanswered.append((name, event_id))
                answer = session.post(name, body.encode())
                unanswered.remove((name, event_id))
                if answer.status == 200:
                    acknowledged.append(Acknowledged(answer.json["delivery"], name, (event_id,)))

    clients = [Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    return acknowledged, unanswered


def little_address_space(seed: int, directory: Path) -> Round:
    """Where the map does not fit into the address space, a start says so; where it does, it serves."""
    with Children(directory) as children:
        child = children("[storage]\nfree_bytes_min = 1\nmap_size_bytes = 17179869184\n" + SECTIONS)
        command = child.command
        child.command = ["prlimit", f"--as={8 * 2**30}", *command]
        code, words = child.start_that_fails()
        assert (code, len(words.splitlines())) == (1, 1), words
        child.command = ["prlimit", f"--as={24 * 2**30}", *command]
        child.start()
        return _killed_under_load(child, seed, [])


def killed_reader(seed: int, directory: Path) -> Round:
    """A reader that stands still pins pages, so that the file grows; once it is killed, they are used again."""
    with Children(directory) as children:
        child = children(source("worked", processor="processors:plain"))
        child.start()
        known = _post(child, f"{seed}-before")
        with other_readers(child.store, 1) as reader:
            pinned, more = _growth(child, f"{seed}-pinned")
            known += more
            reader.kill()
            reader.wait()
            eventually(lambda: reader.pid not in _readers(child))
            known += _post(child, f"{seed}-between")
            free, more = _growth(child, f"{seed}-free")
            known += more
        assert free * 2 <= pinned, f"pinned, it grew by {pinned} bytes, and then by {free}"
        return _at_rest(child, known, names=("worked",))


def _readers(child: Child) -> set[int]:
    """Return the numbers of the processes that have a place in the table of readers."""
    with lmdb.open(str(child.store), lib_version=0, readonly=True, max_dbs=16) as env:
        return {int(line.split()[0]) for line in str(env.readers()).splitlines()[1:] if line.split()}


def _growth(child: Child, prefix: str) -> tuple[int, list[Acknowledged]]:
    """Send some events and wait for their outcomes; return by how many bytes the file grew, and what was sent."""
    before = (child.store / "data.mdb").stat().st_size
    known = _post(child, prefix)
    return (child.store / "data.mdb").stat().st_size - before, known


def _post(child: Child, prefix: str) -> list[Acknowledged]:
    known = []
    with child.session() as session:
        for at in range(PINNED_POSTS):
            answer = session.post("worked", item(f"{prefix}-{at}"))
            known.append(Acknowledged(answer.json["delivery"], "worked", (f"{prefix}-{at}",)))
    eventually(lambda: pending(child, "worked") == 0)
    return known


@contextmanager
def _group(controller: str, limit: int) -> Iterator[Group]:
    try:
        with group(controller, limit) as made:
            yield made
    except NotHere as error:
        raise Impossible(str(error)) from error


def _killed_under_load(child: Child, seed: int, known: list[Acknowledged]) -> Round:
    """Let clients send until a kill, start it again, and judge it."""
    loading = Load(child, seed, Random(seed).randint(1, 60), child.kill_now, [])
    loading.run()
    child.kill()
    child.start()
    return _at_rest(child, [*known, *loading.acknowledged], unanswered=loading.unanswered)


def _at_rest(
    child: Child,
    known: list[Acknowledged],
    *,
    unanswered: list[tuple[str, str]] | None = None,
    names: tuple[str, ...] = SOURCES,
) -> Round:
    eventually(lambda: all(pending(child, name) == 0 for name in names))
    books = read_books(child, unanswered=unanswered or [])
    assert child.stop() == 0
    return judged(child, known, books)


FAULTS = (
    Fault("no open files left", no_open_files, long=30),
    Fault("no threads left", no_threads, long=20, short=0),
    Fault("just the memory of the plan", planned_memory, long=20, short=0),
    Fault("too little memory", tight_memory, long=20, short=0),
    Fault("too little address space", little_address_space, long=20, short=0),
    Fault("a reader that stands still and is killed", killed_reader, long=20, short=0),
)
