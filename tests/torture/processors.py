"""Processors that do what none should: what they answer, what they change in the process, and how they end it."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from random import Random

from tests.support.bad_processors import ANSWERS, CLOSINGS, HARMS, MEDDLES
from tests.support.client import Response, item
from tests.support.config import source
from tests.support.ledger import pending, read_books
from tests.support.load import SECTIONS, SOURCES, Acknowledged
from tests.support.server import ROOT, Child, Children
from tests.support.waiting import eventually
from tests.torture.fault import Fault, Round
from tests.torture.judge import judged

ONCE = {"processor_attempts_max": 1, "processor_batch_events_max": 1}
BAD = {"bad": "plain", "bad_on_loop": "asynchronous"}
ALL = (*SOURCES, *BAD)
IN_ONE_ROUND = 6
SHORT = 12

SILENT = {"lower limits"}
"""Ways after which no connection is taken, and none refused."""

DEAF = {("ignore signals", "bad_on_loop")}
"""Ways after which only SIGKILL ends the server."""

EXIT_CODES: Mapping[str, set[int | None]] = {
    "exit at once": {7},
    "null pointer": {-11},
    "abort": {-6},
    "kill": {-9},
    "alarm": {-14, 0},
    "exec": {0},
}
"""Of harms that end the process themselves; any other ends with 0 or 1: see docs/processors.md."""


@dataclass
class Scene:
    """A server with good sources and bad ones, and what it has acknowledged."""

    child: Child
    acknowledged: list[Acknowledged] = field(default_factory=list)
    unanswered: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    sent: int = 0

    def post(self, name: str, **keys: object) -> Response | None:
        """Send one event; None if nobody answered."""
        self.sent += 1
        event_id = f"{name}-{self.sent}"
        try:
            answer = self.child.post(name, item(event_id, **keys))
        except (OSError, HTTPException):
            self.unanswered.append((name, event_id))
            return None
        if answer.status == 200:
            self.acknowledged.append(Acknowledged(answer.json["delivery"], name, (event_id,)))
        return answer

    def post_to_others(self) -> None:
        for name in SOURCES:
            self.post(name)

    def at_rest(self, names: Iterable[str] = ALL) -> bool:
        """Whether nothing of these is pending, or the server has ended."""
        try:
            return all(pending(self.child, name) == 0 for name in names) or self.child.has_ended
        except (OSError, HTTPException):
            return self.child.has_ended

    def expect(self, truth: object, words: str) -> None:
        if not truth:
            self.problems.append(words)

    def judge(self, cases: int) -> Round:
        """Start it for good, let it come to rest, and compare; `stderr` is what the bad ones make of it."""
        self.child.start()
        eventually(self.at_rest)
        self.expect(not self.child.has_ended, "it ended again when it was started for good")
        books = read_books(self.child, unanswered=self.unanswered)
        self.expect(self.child.stop() == 0, "the last stop did not end with 0")
        self.child.errors.clear()
        found = judged(self.child, self.acknowledged, books)
        return replace(found, cases=cases, problems=(*found.problems, *self.problems))


def made(children: Children) -> Scene:
    sections = [source(name, processor=f"bad_processors:{function}", **ONCE) for name, function in BAD.items()]
    child = children("[limits]\ndrain_timeout_seconds = 5\n" + SECTIONS + "".join(sections))
    shutil.copy(ROOT / "tests" / "support" / "bad_processors.py", child.directory)
    return Scene(child)


def drawn(seed: int, ways: Iterable[str], count: int, names: Sequence[str] = tuple(BAD)) -> Sequence[tuple[str, str]]:
    """So many of these ways, each with a source that goes it."""
    random = Random(seed)
    return [(way, random.choice(names)) for way in random.sample(sorted(ways), count)]


def stays(ways: Iterable[str], count: int, *names: str) -> Callable[[int, Path], Round]:
    """Of what must not end the server: all of it at once, others beside it, a reload, and a drain."""

    def run(seed: int, directory: Path) -> Round:
        chosen = drawn(seed, ways, count, names or tuple(BAD))
        with Children(directory) as children:
            scene = made(children)
            scene.child.start()
            for way, name in chosen:
                scene.post(name, do=way)
                scene.post_to_others()
            eventually(scene.at_rest)
            scene.expect(not scene.child.has_ended, f"it ended by one of {chosen}")
            scene.expect(scene.child.reload()[-1]["event"] == "reloaded", "no reload")
            scene.post_to_others()
            code = scene.child.stop()
            scene.expect(code == 0, f"it ended with {code}")
            return scene.judge(len(chosen))

    return run


def ends(ways: Iterable[str], count: int) -> Callable[[int, Path], Round]:
    """Of what takes from the process what it needs: one after the other on one store."""

    def run(seed: int, directory: Path) -> Round:
        chosen = drawn(seed, ways, count)
        with Children(directory) as children:
            scene = made(children)
            for way, name in chosen:
                _harm(scene, way, name)
            return scene.judge(len(chosen))

    return run


def store_removed(seed: int, directory: Path) -> Round:
    """Of the store's files, removed in use: nothing is acknowledged that would be gone, and the next start has a new
    store, in which all is kept."""
    with Children(directory) as children:
        scene = made(children)
        child = scene.child
        child.start()
        scene.post_to_others()
        scene.post(random_bad(seed), do="unlink store")
        eventually((child.directory / "done-unlink-store").exists)
        answers = [scene.post(name) for name in SOURCES for _ in range(5)]
        scene.expect([each.status for each in answers if each] == [503] * 10, f"{answers} after the store was removed")
        scene.expect(child.stop() == 0, "it did not end with 0")
        for known in (scene.acknowledged, scene.unanswered, child.delivered):
            known.clear()
        child.start()
        scene.post_to_others()
        scene.expect(child.stop() == 0, "the next did not end with 0")
        return scene.judge(1)


def random_bad(seed: int) -> str:
    return tuple(BAD)[seed % len(BAD)]


def _harm(scene: Scene, way: str, name: str) -> None:
    child = scene.child
    child.start()
    scene.post_to_others()
    scene.post(name, do=way)
    eventually(lambda: (child.directory / f"done-{way.replace(' ', '-')}").exists() or child.has_ended)
    for _ in range(0 if way in SILENT else 3):
        scene.post_to_others()
    if (way, name) in DEAF:
        child.kill()
        return
    code = child.wait() if child.has_ended else child.stop()
    scene.expect(code in EXIT_CODES.get(way, {0, 1}), f"{way} by {name}: it ended with {code}")


FAULTS = (
    Fault("bad processors: what they raise and return", stays(ANSWERS, len(ANSWERS)), 30, 0, "answers"),
    Fault("bad processors: some of what they answer", stays(ANSWERS, SHORT), 30, 1, "answers"),
    Fault("bad processors: what they change in the process", stays(MEDDLES, len(MEDDLES), "bad"), 100, 0, "changes"),
    Fault("bad processors: how they end the process", ends(HARMS, IN_ONE_ROUND), 100, 0, "ends"),
    Fault("bad processors: descriptors that they close", ends(CLOSINGS, IN_ONE_ROUND), 60, 0, "descriptors"),
    Fault("bad processors: the store removed", store_removed, 10, 0, "removals"),
    Fault("bad processors: one end and one descriptor", ends(("exit at once", "close sockets"), 2), 10, 1, "ends"),
)
