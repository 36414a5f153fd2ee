"""Floods of connections and of work, from the network and from those who have a token, while a good client goes on.

Its answers must all be 200 and be in the store, and the memory must stay within what `tidegate check` plans; how long
its answers took, quiet and under the flood, is kept beside the round.
"""

import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from server.config.capacity import plan, read_machine
from server.config.load import load
from tests.support.client import Session, item
from tests.support.config import source
from tests.support.debian import find
from tests.support.ledger import read_books
from tests.support.load import Acknowledged
from tests.support.server import ROOT, Child, Children
from tests.support.waiting import HANG_SECONDS, eventually
from tests.torture.attacker import KINDS
from tests.torture.fault import Fault, Impossible, Round
from tests.torture.judge import judged

CONNECTIONS, FEW_CONNECTIONS = 1000, 200
HEAVY = ("bombs", "bodies of strangers", "deep and wide JSON", "pipelines that nobody reads", "pipelines of thousands")
HEAVY_CONNECTIONS = 32
"""Of those kinds in which each connection brings the server as much work as it may: a thousand are a full processor."""
ANSWERS, FEW_ANSWERS = 1000, 50
"""Of the good client, quiet and then under the flood."""
PAUSE_SECONDS = 0.005
LIMITS = "[limits]\nheader_timeout_seconds = 2\nbody_timeout_seconds = 10\nkeep_alive_timeout_seconds = 30\n"
TIMED_OUT = 'tidegate_requests_total{code="timeout",status="408"}'
SHORT = ("slow heads",)
"""The kinds of which the suite has a round."""
MODES = {"slow headers": "-H", "slow bodies": "-B", "ranges": "-R", "slow reading": "-X"}

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class GoodClient:
    """Sends an event, waits for its answer, pauses, and sends the next: on one connection, as long as it is kept."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.acknowledged: list[Acknowledged] = []
        self.problems: list[str] = []

    def send(self, count: int) -> list[float]:
        """Send so many; return how long each answer took, in seconds."""
        return [self._send_one() for _ in range(count)]

    def _send_one(self) -> float:
        name = f"good-{len(self.acknowledged)}"
        begun = time.monotonic()
        answer = self._session.post("demo", item(name))
        took = time.monotonic() - begun
        if answer.status == 200:
            self.acknowledged.append(Acknowledged(answer.json["delivery"], "demo", (name,)))
        else:
            self.problems.append(f"{answer.status} to a good client: {answer.body!r}")
        time.sleep(PAUSE_SECONDS)  # the pace of a sender, not a wait for anything
        return took


def under(flood: "Flood", answers: int, seed: int, directory: Path) -> Round:
    """Let the good client send so many events quietly, and as many under the flood. Every seed is the same."""
    with Children(directory) as children:
        child = children(LIMITS + source("demo") + source("evil"))
        child.start()
        memory = Memory(child)
        with child.session() as session:
            client = GoodClient(session)
            quiet = client.send(answers)
            with flood(child) as figures, memory:
                loud = client.send(answers)
        figures |= _figures("quiet", quiet) | _figures("flood", loud) | {"memory_bytes": memory.most}
        allowed = plan(load(child.config, {}), read_machine(child.store)).memory_bytes
        if memory.most > allowed:
            client.problems.append(f"{memory.most} bytes of memory, where {allowed} are planned")
        books = read_books(child)
        child.stop()
        found = judged(child, client.acknowledged, books)
    return replace(found, problems=(*found.problems, *client.problems), figures=figures)


def _figures(name: str, took: Sequence[float]) -> dict[str, float]:
    steps = statistics.quantiles(took, n=100)
    return {f"{name}_p50_ms": round(steps[49] * 1000, 2), f"{name}_p99_ms": round(steps[98] * 1000, 2)}


class Memory:
    """The most that a server takes within a block, looked at now and then."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._is_over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self.most = 0

    def __enter__(self) -> None:
        self._watcher.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._is_over.wait(PAUSE_SECONDS * 20):
            self.most = max(self.most, self._child.memory_bytes())


class Flood(Protocol):
    """What is done to a server within a block, and what it says of itself after it."""

    def __call__(self, child: Child, /) -> AbstractContextManager[dict[str, float]]: ...


@contextmanager
def connections(kind: str, count: int, child: Child) -> Iterator[dict[str, float]]:
    """So many connections that do what the attacker's kind does."""
    figures: dict[str, float] = {}
    command = sys.executable, "-m", "tests.torture.attacker", str(child.port), kind, str(count)
    attacker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)
    try:
        assert attacker.stdout is not None
        assert attacker.stdout.readline() == "begun\n"
        yield figures
        if kind.startswith("slow"):
            eventually(lambda: child.metrics()[TIMED_OUT])
        said, _ = attacker.communicate(timeout=HANG_SECONDS)
        figures |= json.loads(said)
    finally:
        attacker.kill()
        attacker.wait()


@contextmanager
def slowhttptest(mode: str, child: Child) -> Iterator[dict[str, float]]:
    """The tool of this name, from Debian, until the good client is through or the server has closed all it opened."""
    tool = find("slowhttptest", ["slowhttptest"])
    if tool is None:
        raise Impossible("slowhttptest is not installed, and apt cannot bring it")
    figures: dict[str, float] = {}
    url = f"http://127.0.0.1:{child.port}/livez"
    options = "-c", str(CONNECTIONS), "-r", "500", "-i", "1", "-l", "600", "-p", "5", "-u", url
    with tempfile.TemporaryFile("w+") as said:
        attacker = subprocess.Popen([tool, mode, *options], stdout=said, stderr=said, cwd=child.directory)
        try:
            yield figures
            attacker.send_signal(signal.SIGINT)  # it may have ended: it does when all its connections were closed
            attacker.wait(HANG_SECONDS)
        finally:
            attacker.kill()
            attacker.wait()
        said.seek(0)
        words = COLOURS.sub("", said.read())
    figures["unavailable"] = len(re.findall(r"service available: *NO", words))
    figures["connected"] = max(map(int, re.findall(r"connected: *([0-9]+)", words)), default=0)


def _of_kind(kind: str, count: int, answers: int, rounds: int, short: int) -> Fault:
    return Fault(f"{count} {kind}", partial(under, partial(connections, kind, count), answers), rounds, short)


FAULTS = (
    *(_of_kind(kind, HEAVY_CONNECTIONS if kind in HEAVY else CONNECTIONS, ANSWERS, 3, 0) for kind in KINDS),
    *(_of_kind(kind, FEW_CONNECTIONS, FEW_ANSWERS, 0, 1) for kind in SHORT),
    *(
        Fault(f"slowhttptest, {name}", partial(under, partial(slowhttptest, mode), ANSWERS), 3, short=0)
        for name, mode in MODES.items()
    ),
)
