"""What servers did to their files, recorded, with marks of what their clients knew: each trace is a function.

It runs in a directory of its own, and leaves `Recorded`.
"""

import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from storage.lmdb_store.environment import Store
from tests.support.clocks import Clocks
from tests.support.config import source
from tests.support.format_1 import old_store
from tests.support.ledger import pending
from tests.support.server import ROOT, Child, Children
from tests.support.shim.build import Fault, environment
from tests.support.shim.disk import AnyOrder, Choice, Image
from tests.support.shim.trace import Marker, read_records
from tests.support.waiting import eventually
from tests.torture.images import MAP_SIZE_BYTES, Known, contents, convert_if_old, cuts, digest_of, known_at_last

CLIENTS = 3
REQUESTS = 12
LARGE_BYTES = 70_000
"""More than the journal takes: such a delivery waits for its transaction."""
LIMITS = f"[storage]\nfree_bytes_min = 1\nmap_size_bytes = {MAP_SIZE_BYTES}\n\n[dedup]\nmemory_ids_max = 1\n\n"
SOURCES = (
    source("archive")
    + source("worked", processor="processors:plain", processor_attempts_max=1)
    + source("slow", rate_limit_events_per_second=50, rate_limit_burst_events=5, processor="processors:plain")
)
BODIES_LEAVE = "[retention]\narchive_bytes_max = 8192\n\n"
RECEIPT_HOURS = 721
"""More than receipts stay."""
EARLIER = 10_000
"""A seed for what another trace sends: no other is so large."""
NAMES = ("archive", "worked", "slow")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A trace, and where what it is about was."""

    trace: Path
    root: Path
    old: bool = False
    """It began with a store of an older format."""


@dataclass(frozen=True, slots=True)
class Before:
    """What is there when a trace begins."""

    image: Image
    known: Known


@dataclass(slots=True)
class Recorder:
    """A server under the shim, and clients that mark what they know."""

    child: Child
    marker: Marker
    recorded: Recorded
    refused: list[bytes] = field(default_factory=list)
    """Answers other than 200."""

    def traffic(self, seed: int, clients: int = CLIENTS, requests: int = REQUESTS) -> None:
        """Send from several clients at once; return when all was answered, or the server is gone."""
        threads = [threading.Thread(target=self._client, args=(seed, each, requests)) for each in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, seed: int, number: int, requests: int) -> None:
        random = Random(seed * 100 + number)
        sent: dict[str, list[str]] = {name: [] for name in NAMES}
        with self.child.session() as session:
            for at in range(requests):
                name, fresh = random.choice(NAMES), f"{seed}-{number}-{at}"
                ids = [fresh if index == 0 else f"{fresh}-{index}" for index in range(random.choice((1, 1, 1, 9)))]
                old = sent[name]
                ids = [random.choice(old) if old and random.random() < 0.2 else each for each in ids]
                sent[name] += ids
                body = _body(random, ids)
                self.marker.mark(sent=[name, ids, digest_of(body)])
                try:
                    answer = session.post(name, body)
                except (OSError, http.client.HTTPException):
                    return
                if answer.status == 200:
                    self.marker.mark(acknowledged=[answer.json["delivery"], name, ids, digest_of(body)])
                else:
                    self.refused.append(answer.body)

    def rest(self) -> None:
        """Return when nothing is pending."""
        eventually(lambda: all(pending(self.child, name) == 0 for name in NAMES))

    def look_up(self, ids: Sequence[str]) -> None:
        """Mark those that are shown as processed."""
        for name in NAMES:
            for event_id in ids:
                answer = self.child.admin(f"/receipts/{name}/{event_id}")
                if answer.status == 200 and answer.json.get("outcome") == "processed":
                    self.marker.mark(processed=[name, event_id])

    def requeue(self) -> None:
        """Give all dead events back."""
        body = json.dumps({"source": "worked", "all": True}).encode()
        answer = self.child.admin("/requeue", method="POST", body=body, headers={"Content-Type": "application/json"})
        assert answer.status == 200, answer
        self.marker.mark(requeued=[0] * int(answer.json["requeued"]))


def _body(random: Random, ids: Sequence[str]) -> bytes:
    note = "x" * LARGE_BYTES if random.random() < 0.1 else "y" * random.randint(0, 600)
    payload: dict[str, object] = {"note": note}
    if random.random() < 0.3:
        payload |= random.choice(({"do": "fail"}, {"do": "result", "value": random.randint(0, 9)}))
    items = [{"inbound_event_id": event_id, "payload": payload} for event_id in ids]
    return json.dumps(items[0] if len(items) == 1 else items).encode()


@contextmanager
def recording(
    directory: Path, *faults: Fault, sections: str = "", launch: Sequence[str] = (), before: Before | None = None
) -> Iterator[Recorder]:
    """Begin a trace; the server is not started yet. `before`: what is there; else there is no store."""
    trace = directory / "trace"
    with Children(directory) as children:
        child = children(sections + LIMITS + SOURCES, launch=["--waits", "0.05", *launch])
        child.environment = {**child.environment, **environment(child.directory, trace, *faults)}
        with closing(Marker(trace)) as marker:
            if before is not None:
                before.image.write(child.directory)
                marker.add_files(child.store)
            marker.mark()
            if before is not None:
                _mark(marker, before.known)
            yield Recorder(child, marker, Recorded(trace, child.directory))


def making(seed: int, directory: Path, *faults: Fault) -> Recorded:
    """The first start of a server, its first deliveries, and its end."""
    with recording(directory, *faults) as recorder:
        recorder.child.start()
        recorder.traffic(seed, clients=1, requests=4)
        recorder.child.stop()
        return recorder.recorded


def life(seed: int, directory: Path, *faults: Fault) -> Recorded:
    """Deliveries of all kinds, a requeue, a reload, a drain, a start, and an end by SIGKILL."""
    with recording(directory, *faults) as recorder:
        child = recorder.child
        child.start()
        recorder.traffic(4 * seed)
        recorder.rest()
        recorder.look_up([f"{4 * seed}-{client}-{at}" for client in range(CLIENTS) for at in range(4)])
        recorder.requeue()
        recorder.traffic(4 * seed + 1)
        child.write(LIMITS + SOURCES + source("another", processor="processors:other"))
        child.reload()
        recorder.traffic(4 * seed + 2, requests=REQUESTS // 2)
        child.stop()
        child.start()
        recorder.look_up([f"{4 * seed + 1}-{client}-{at}" for client in range(CLIENTS) for at in range(4)])
        recorder.traffic(4 * seed + 3, requests=REQUESTS // 2)
        child.kill()
        return recorder.recorded


def recovery(seed: int, directory: Path) -> Recorded:
    """The start of a server after a power cut, and what follows: its power is cut again."""
    random = Random(seed)
    (directory / "first").mkdir()
    first = making(seed, directory / "first")
    records = read_records(first.trace)
    [cut] = cuts(records, first.root, [random.randrange(len(records) // 2, len(records)) + 1])
    image = cut.disk.image(random.choice([Choice(), AnyOrder(random)]))
    before = Before(image, replace(cut.known, sent=known_at_last(records).sent))
    with recording(directory, before=before) as recorder:
        recorder.child.start()
        recorder.traffic(EARLIER + seed, clients=2, requests=4)
        recorder.child.kill()
        recorder.child.start()
        recorder.traffic(2 * EARLIER + seed, clients=1, requests=4)
        recorder.child.kill()
        return recorder.recorded


def leaving(seed: int, directory: Path) -> Recorded:
    """Bodies leave while deliveries come, then receipts, and then the process ends."""
    clocks = Clocks(directory / "clocks")
    launch = ["--clocks", str(clocks.path), "--eager-retention"]
    with recording(directory, sections=BODIES_LEAVE, launch=launch) as recorder:
        recorder.child.start()
        for part in range(3):
            recorder.traffic(4 * seed + part)
            recorder.rest()
            clocks.pass_hours(RECEIPT_HOURS)
        recorder.traffic(4 * seed + 3)
        recorder.child.kill()
        return recorder.recorded


def conversion(seed: int, directory: Path) -> Recorded:
    """`migrate` of a store of format 1, and `migrate --discard-old`."""
    root, trace = directory / "root", directory / "trace"
    root.mkdir()
    data = old_store(root)
    with closing(Marker(trace)) as marker:
        marker.add_files(data)
        marker.mark()
        _mark(marker, _known_of(shutil.copytree(data, directory / "converted")))
        command = [sys.executable, "-P", "-m", "server", "migrate", "--config", str(root / "tidegate.toml")]
        world = os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment(root, trace))
        for more in ([], ["--discard-old"]):
            subprocess.run([*command, *more], env=world, stderr=subprocess.DEVNULL, check=True)
    return Recorded(trace, root, old=True)


def _known_of(copy: Path) -> Known:
    """Return all that a store of an older format holds, as this copy of it shows, which nobody disturbs."""
    convert_if_old(copy)
    with closing(Store.open(copy, mode="read")) as store:
        deliveries, processed = contents(store)
    return Known(set(deliveries.values()), deliveries, set(processed))


def _mark(marker: Marker, known: Known) -> None:
    for each in known.sent:
        marker.mark(sent=[each.source, each.ids, each.body])
    for identity, each in known.acknowledged.items():
        marker.mark(acknowledged=[identity, each.source, each.ids, each.body])
    for source_id, event_id in known.processed:
        marker.mark(processed=[source_id, event_id])
