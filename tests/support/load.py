"""Several clients at once that send singles and batches, seeded, some ids again and again; who was acknowledged."""

import http.client
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.support.config import source
from tests.support.ledger import Books, calls
from tests.support.server import Child

CLIENTS = 4
BATCH_EVENTS_MAX = 12
REPEATED_SHARE = 0.2
SOURCES = ("archive", "worked")
SECTIONS = source("archive") + source("worked", processor="processors:plain")


@dataclass(frozen=True)
class Acknowledged:
    """A delivery that got its 200."""

    delivery: str
    source: str
    ids: tuple[str, ...]


@dataclass
class Load:
    """Clients that send until the server is gone; after so many `answers` something is done to it."""

    child: Child
    seed: int
    answers: int
    then: Callable[[], None]
    known_ids: list[str]
    acknowledged: list[Acknowledged] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)
    unanswered: list[tuple[str, str]] = field(default_factory=list)
    """Source and id of what was sent, and may be there or not."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        clients = [threading.Thread(target=self._client, args=(number,)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

    def _client(self, number: int) -> None:
        random = Random(self.seed * CLIENTS + number)
        sent: list[str] = []
        try:
            with self.child.session() as session:
                while True:
                    name, ids = random.choice(SOURCES), self._ids(random, f"{self.seed}-{number}-{len(sent)}", sent)
                    sent += ids
                    try:
                        answer = session.post(name, _body(random, ids))
                    except (OSError, http.client.HTTPException):
                        self.unanswered += [(name, event_id) for event_id in ids]
                        return
                    self._answered(name, ids, answer.status, answer.body)
        except (OSError, http.client.HTTPException):
            return

    def _ids(self, random: Random, prefix: str, sent: list[str]) -> list[str]:
        ids = [f"{prefix}-{index}" for index in range(random.choice((1, 1, random.randint(2, BATCH_EVENTS_MAX))))]
        old = self.known_ids + sent
        return [random.choice(old) if old and random.random() < REPEATED_SHARE else fresh for fresh in ids]

    def _answered(self, name: str, ids: list[str], status: int, body: bytes) -> None:
        with self._lock:
            if status != 200:
                self.refused.append(body)
                return
            self.acknowledged.append(Acknowledged(json.loads(body)["delivery"], name, tuple(ids)))
            if len(self.acknowledged) == self.answers:
                self.then()


def _body(random: Random, ids: list[str]) -> object:
    items = [{"inbound_event_id": event_id, "payload": _payload(random)} for event_id in ids]
    return items[0] if len(items) == 1 else items


def _payload(random: Random) -> dict[str, object]:
    return {"do": "result", "value": random.randint(0, 9)} if random.random() < 0.3 else {"note": "x" * 50}


def check_books(books: Books, acknowledged: list[Acknowledged]) -> None:
    """What was acknowledged is there, whole; no id was processed twice."""
    for each in acknowledged:
        found = [event.id for event in books.deliveries.get(each.delivery, ())]
        assert found == list(each.ids), f"acknowledged, and not in the store as sent: {each}"
    assert max(books.processed().values(), default=0) <= 1, "an id was processed twice"
    assert len(books.events) == books.stored, "there are events that nobody sent"


def check_calls(child: Child, before: int, processed_before: set[tuple[str, str]], books: Books) -> int:
    """No processor saw an event whose outcome was on disk when the server started; each processed one was seen."""
    found = calls(child)
    for ids in found[before:]:
        again = {("worked", event_id) for event_id in ids} & processed_before
        assert not again, f"processed before the start, and called again: {again}"
    seen = {event_id for ids in found for event_id in ids}
    assert seen >= {event_id for name, event_id in books.processed() if name == "worked"}
    return len(found)
