"""More than it can take: many senders at once, heavy bodies, little room for them."""

import gzip
import http.client
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

from tests.support.ledger import pending, read_books
from tests.support.load import SECTIONS, SOURCES, Acknowledged
from tests.support.server import Child, Children
from tests.support.waiting import eventually
from tests.torture.fault import Fault, Round
from tests.torture.judge import judged

SENDERS = 16
REQUESTS = 6
"""Of each sender."""
LIMITS = "[limits]\nbody_bytes_max = 60000\nin_flight_bytes_max = 120000\n"
"""Room for two or three large bodies at once."""


@dataclass
class Senders:
    """What all of them have seen."""

    child: Child
    seed: int
    acknowledged: list[Acknowledged] = field(default_factory=list)
    unanswered: list[tuple[str, str]] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    """Answers that are neither a 200 nor a 503 with Retry-After."""
    refused: int = 0

    def run(self) -> None:
        threads = [threading.Thread(target=partial(self._send, number)) for number in range(SENDERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _send(self, number: int) -> None:
        random = Random(self.seed * SENDERS + number)
        for turn in range(REQUESTS):
            name = random.choice(SOURCES)
            ids = [f"{self.seed}-{number}-{turn}-{at}" for at in range(random.choice((1, 1, 3, 40)))]
            body, headers = _body(random, ids)
            with self.child.session() as session:  # a refusal at the head closes its connection
                try:
                    answer = session.post(name, body, headers=headers)
                except (OSError, http.client.HTTPException):
                    self.unanswered += [(name, event_id) for event_id in ids]
                    continue
            if answer.status == 200:
                self.acknowledged.append(Acknowledged(answer.json["delivery"], name, tuple(ids)))
            elif answer.status == 503 and "retry-after" in answer.headers:
                self.refused += 1
            else:
                self.odd.append(f"{answer.status} {answer.body!r}")


def _body(random: Random, ids: Sequence[str]) -> tuple[bytes, dict[str, str]]:
    note = "x" * random.choice((10, 1000))
    items = [{"inbound_event_id": event_id, "payload": {"note": note, "list": [[]] * 10}} for event_id in ids]
    body = json.dumps(items).encode()
    return (gzip.compress(body), {"Content-Encoding": "gzip"}) if random.random() < 0.3 else (body, {})


def more_than_it_takes(seed: int, directory: Path) -> Round:
    """Send all at once, wait for what was accepted, and compare."""
    with Children(directory) as children:
        child = children(LIMITS + SECTIONS)
        child.start()
        senders = Senders(child, seed)
        senders.run()
        eventually(lambda: all(pending(child, name) == 0 for name in SOURCES))
        books = read_books(child, unanswered=senders.unanswered)
        code = child.stop()
        found = judged(child, senders.acknowledged, books, cases=SENDERS * REQUESTS)
        odd = (*senders.odd, *([] if code == 0 else [f"exit {code}"]))
        return Round(found.acknowledged, found.lost, found.doubled, (*found.problems, *odd), found.cases)


FAULTS = (Fault("more than it can take", more_than_it_takes, long=100, short=0, unit="requests"),)
