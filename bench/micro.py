"""The steps of an event's way, each alone: µs an event, the best of some rounds.

    python -m bench.micro [--events 1000] [--rounds 20]

Goals: say which step a change made slower. Non-goals: adding up to the whole; a step alone has warm caches.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import zstandard

from bench.workload import SEED, batch, single_track
from server.base.refusal import Refusal
from server.base.source import Source
from server.http.fast.head_cache import HeadCache
from server.intake.headers import scan
from server.intake.intake import DeliveryHead, IntakeLimits
from server.intake.normalise import delivery
from server.intake.parse import Body, parse
from server.intake.rate_limit import Gcra
from server.intake.read_many import read_many
from storage.codec.log_record import COMPRESSION_LEVEL, encode_log
from storage.codec.records import digests_of, split_digests
from storage.dedup.index import DedupIndex
from storage.deliveries import Deliveries, NumberedDeliveries
from storage.journal.journal import Journal
from storage.lmdb_store.environment import Store
from storage.model import Append, Group
from storage.statuses import EventStatus
from storage.write.writer import Writer

SOURCE = Source("segment", "segment", ())
HEADERS = ((b"content-type", b"application/json"), (b"user-agent", b"bench"), (b"x-request-id", b"0123456789"))
CONTAINERS_MAX = 10**6
MAP_BYTES = 4 << 30
WINDOW_MS = 96 * 3600 * 1000
NOW_MS = 1_790_000_000_000
GCRA_EVENTS = 1000


HEAD = (
    b"POST /ingest/inbound/segment HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer for-measuring-only\r\n"
    b"Content-Type: application/json\r\ntraceparent: 00-%032x-00f067aa0ba902b7-01\r\nContent-Length: 450\r\n\r\n"
)
LIMITS = IntakeLimits(2**20, 2**20, CONTAINERS_MAX, 2500)


@dataclass
class Request:
    """One that came whole."""

    head: DeliveryHead
    body: bytes


def _requests(count: int) -> list[Request]:
    rng = random.Random(SEED)
    made = [single_track(rng) for _ in range(count)]
    return [Request(DeliveryHead("segment", None, scan(HEADERS), len(body), "127.0.0.1"), body) for body in made]


def _together(requests: Sequence[Request]) -> Deliveries:
    _, found, _ = read_many(SOURCE, requests, NOW_MS, LIMITS)
    assert found is not None
    return found


class Steps:
    """The steps for one batch of so many events; each is a callable that can be called again and again."""

    def __init__(self, events: int, store: Store) -> None:
        self.events = events
        self._body = batch(random.Random(SEED), events)
        self._parsed = Body(orjson.loads(self._body), self._body)
        self._compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
        self._limiter = Gcra(10**9)
        self._writer = Writer(store)
        self._stored = self._delivery()
        self._digests = split_digests(digests_of(self._stored))
        self._index = DedupIndex(WINDOW_MS)
        self._index.add(self._digests, range(1, events + 1), NOW_MS)
        self._heads = HeadCache(())
        self._repeated = [HEAD % 0] * events
        self._varying = [HEAD % number for number in range(events)]
        self._requests = _requests(events)
        self._single = _together(self._requests[:1])
        self._journal = Journal(store)

    def all(self) -> dict[str, tuple[Callable[[], object], int]]:
        """By name: the step, and how many events it handles."""
        return {
            "head, repeated": (lambda: self._read_heads(self._repeated), self.events),
            "head, varying": (lambda: self._read_heads(self._varying), self.events),
            "single events, read together": (lambda: _together(self._requests), self.events),
            "single events, encoded": (
                lambda: encode_log(NumberedDeliveries(1, "abcdef", _together(self._requests)), self._compressor),
                self.events,
            ),
            "parse": (lambda: parse(self._body, CONTAINERS_MAX), self.events),
            "normalise": (self._found, self.events),
            "rate limit": (self._admit, GCRA_EVENTS),
            "digests": (lambda: digests_of(self._stored), self.events),
            "dedup, known": (lambda: self._index.probe(self._digests), self.events),
            "encode the block": (lambda: encode_log(self._stored, self._compressor), self.events),
            "commit": (self._commit, self.events),
            "one event, into the journal": (self._put_into_journal, 1),
            "one event, committed alone": (self._commit_single, 1),
        }

    def _read_heads(self, heads: Sequence[bytes]) -> None:
        for head in heads:
            self._heads.read("127.0.0.1", head)

    def _found(self) -> Deliveries:
        found = delivery(
            SOURCE,
            scan(HEADERS),
            self._parsed,
            received_at_ms=NOW_MS,
            remote_addr="127.0.0.1",
            batch_events_max=self.events,
        )
        if isinstance(found, Refusal):
            raise TypeError(f"a body of our own is refused: {found}")
        return found

    def _admit(self) -> None:
        for now_ns in range(GCRA_EVENTS):
            self._limiter.admit(1, now_ns)

    def _delivery(self) -> NumberedDeliveries:
        return NumberedDeliveries(self._writer.next_number, "abcdef", self._found())

    def _commit(self) -> None:
        """Encoded, compressed, written and flushed."""
        self._writer.write(Group(appends=[Append(self._delivery(), self.events, EventStatus.DEFERRED)]))

    def _put_into_journal(self) -> None:
        """Encoded and flushed."""
        self._journal.rewind()
        assert self._journal.append([self._alone()])

    def _commit_single(self) -> None:
        self._writer.write(Group(appends=[self._alone()]))

    def _alone(self) -> Append:
        return Append(NumberedDeliveries(self._writer.next_number, "abcdef", self._single), 1, EventStatus.DEFERRED)


def measure(events: int, rounds: int) -> dict[str, float]:
    """µs an event of each step, the best of the rounds: what disturbs a round only ever makes it slower."""
    with _store() as store:
        return {
            name: round(min(_timed(step) for _ in range(rounds)) / count * 1e6, 3)
            for name, (step, count) in Steps(events, store).all().items()
        }


def _timed(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


@contextmanager
def _store() -> Iterator[Store]:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        store = Store.open(Path(directory), map_size_bytes=MAP_BYTES, mode="write")
        try:
            yield store
        finally:
            store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1000, help="in the batch (default: 1000)")
    parser.add_argument("--rounds", type=int, default=20, help="of which the best counts (default: 20)")
    options = parser.parse_args()
    print(json.dumps(measure(options.events, options.rounds), indent=1))


if __name__ == "__main__":
    main()
