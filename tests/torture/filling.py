"""Clients that send what does not compress until nothing more is taken."""

import http.client
import json
import threading
from base64 import b85encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from tests.support.client import Session
from tests.support.load import SOURCES, Acknowledged
from tests.support.server import Child

CLIENTS = 3
NOISE_BYTES_MAX = 150_000
BATCH_EVENTS_MAX = 4


@dataclass
class Filling:
    """What clients sent to a server until one of them was refused, and what became of it."""

    child: Child
    seed: int
    acknowledged: list[Acknowledged] = field(default_factory=list)
    refusals: set[str] = field(default_factory=set)
    """The codes of all answers that were not 200."""
    unanswered: list[tuple[str, str]] = field(default_factory=list)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> "Filling":
        """Return when all have heard that somebody was refused, or the server is gone."""
        clients = [threading.Thread(target=self._client, args=(number,)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        return self

    def _client(self, number: int) -> None:
        random = Random(self.seed * CLIENTS + number)
        try:
            with self.child.session() as session:
                sent = 0
                while not self._is_over.is_set():
                    ids = [f"{self.seed}-{number}-{sent + at}" for at in range(_count(random))]
                    sent += len(ids)
                    self._send(session, random.choice(SOURCES), ids, random)
        finally:
            self._is_over.set()

    def _send(self, session: Session, name: str, ids: Sequence[str], random: Random) -> None:
        items = [{"inbound_event_id": each, "payload": {"noise": noise(random)}} for each in ids]
        try:
            answer = session.post(name, items if len(items) > 1 else items[0])
        except (OSError, http.client.HTTPException):
            self.unanswered += [(name, each) for each in ids]
            self._is_over.set()
            return
        if answer.status == 200:
            self.acknowledged.append(Acknowledged(json.loads(answer.body)["delivery"], name, tuple(ids)))
        else:
            self.refusals.add(answer.json["code"])
            self._is_over.set()


def noise(random: Random) -> str:
    return b85encode(random.randbytes(random.randrange(NOISE_BYTES_MAX))).decode()


def _count(random: Random) -> int:
    return random.choice((1, 1, 1, random.randint(2, BATCH_EVENTS_MAX)))
