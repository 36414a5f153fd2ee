"""Reads events for those who look on: the store by number, in threads of their own, a bounded step at a time.

So they take nothing from what is on its way into the store. Who keeps up with it finds the last deliveries in memory:
what became of them is read, and not their records.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from server.base.pace import Pace
from server.base.worker import Worker
from server.observe.events import texts_of
from storage.codec.log_record import split_log
from storage.read.query import EventQuery
from storage.read.reader import Reader
from storage.read.recent import Recent

LOOKS_MAX = 100_000
"""Events looked at for one request, if what it asks for is rare: it says where to go on."""
LOOKS_AT_ONCE = 5_000
"""Of these, in one step."""
FIND_RESTS, FIND_IDLE_SECONDS_MAX = 1, 0.02
"""A rest is as long as what it follows: so scans take no more than half of a core from what serves deliveries. Somebody
waits for the answer, so a step waits no longer than this for deliveries."""
TAIL_RESTS, TAIL_IDLE_SECONDS_MAX = 4, 0.1
"""All followers together take a fifth of a core, and less while deliveries never rest."""
REST_SECONDS_MAX = 1.0
TAIL_EVENTS_AT_ONCE, TAIL_LOOKS_AT_ONCE = 100, 500
"""In one step: mostly some milliseconds. Fewer cost more each, since nothing of theirs is in the caches after a rest:
with twenty at once an event took twice the CPU."""
ANSWER_BYTES_MAX = 4 * 2**20
"""An answer, and what a follower gets in one step, ends with the event that exceeds this: payloads may be large."""


class Finding:
    """What `/events` and `/tail` need. The first reader is used in the worker `find`, the second one in `tail`."""

    def __init__(
        self,
        readers: tuple[Reader, Reader],
        workers: tuple[Worker, Worker],
        now_ms: Callable[[], int],
        *,
        end: Callable[[], int],
        committed: Callable[[], Awaitable[None]],
        recent: Recent,
        idle: Callable[[], Awaitable[None]],
    ) -> None:
        """`end` tells the number after the last event in the store; `committed` returns when it may have changed,
        `idle` when no delivery waits for its answer. `recent`: what came into the store last."""
        self._reader, self._tail_reader = readers
        find, tail = workers
        self._finding = Pace(
            find, idle, idle_seconds_max=FIND_IDLE_SECONDS_MAX, rests=FIND_RESTS, rest_seconds_max=REST_SECONDS_MAX
        )
        self._following = Pace(
            tail, idle, idle_seconds_max=TAIL_IDLE_SECONDS_MAX, rests=TAIL_RESTS, rest_seconds_max=REST_SECONDS_MAX
        )
        self.now_ms = now_ms
        self.end = end
        self.committed = committed
        self.recent = recent

    async def find(
        self, query: EventQuery, events_max: int, *, payloads: bool
    ) -> tuple[list[bytes], EventQuery | None, int]:
        """Return what was found, each event as JSON, the query to go on with, and how many events were looked at."""
        found: list[bytes] = []
        size = looked = 0
        following: EventQuery | None = query
        while following is not None and len(found) < events_max and size <= ANSWER_BYTES_MAX and looked < LOOKS_MAX:
            texts, following, looks = await self._finding.step(
                partial(
                    texts_of,
                    self._reader,
                    following,
                    payloads=payloads,
                    events_max=events_max - len(found),
                    looks_max=LOOKS_AT_ONCE,
                    bytes_max=ANSWER_BYTES_MAX - size,
                )
            )
            found += [text for _, text in texts]
            size += sum(len(text) for _, text in texts)
            looked += looks
        return found, following, looked

    async def follow_on(self, query: EventQuery, end: int, *, payloads: bool) -> tuple[list[bytes], EventQuery]:
        """Return the first few events before `end` as followers get them, and the query for what comes after them."""
        forgettings, some = self.recent.forgettings, replace(query, before=end)
        texts, following = await self._following.step(_read_tail, self._tail_reader, some, payloads, self.recent)
        if forgettings != self.recent.forgettings:  # memory may have told what has left meanwhile
            texts, following = await self._following.step(_read_tail, self._tail_reader, some, payloads, Recent())
        return texts, replace(query, after=end - 1 if following is None else following.after)


def _read_tail(
    reader: Reader, query: EventQuery, payloads: bool, recent: Recent
) -> tuple[list[bytes], EventQuery | None]:
    """In a worker: return a few events as followers get them, and the query for the rest."""
    found, following, _ = texts_of(
        reader,
        query,
        payloads=payloads,
        events_max=TAIL_EVENTS_AT_ONCE,
        looks_max=TAIL_LOOKS_AT_ONCE,
        bytes_max=ANSWER_BYTES_MAX,
        known=list(split_log(recent.since(query.after + 1))),
    )
    return [b"id: %d\ndata: %b\n\n" % each for each in found], following
