"""What a server does every so often, for ever."""

from typing import Protocol

import trio

from server.base import log
from server.base.clock import Clock
from server.base.refusal import Refusal
from server.base.worker import Worker
from server.flow.committer import RETRY_SECONDS, Committer
from server.observe.health import STORAGE_FULL, shortage, storage_refusal
from server.observe.outlook import Capacity
from server.observe.progress import SourceProgress
from server.observe.watch import Watch
from storage.errors import StoreError
from storage.lmdb_store.environment import Store
from storage.lmdb_store.room import Room

LOOK_SECONDS = 1.0
"""Between two looks at the disk: so soon is one noticed that somebody else fills, before a write finds no room."""

WATCH_SECONDS = 1.0
"""How exactly it is known when a request was last accepted."""

PROGRESS_SECONDS = 5.0
"""How exactly it is known since when a processor only fails, and how old an event is that waits on disk."""

LOOK_AHEAD_SECONDS = 60.0
"""How soon readiness and the metrics know that the store has less than a week left."""

TELL_SECONDS = RETRY_SECONDS / 2
"""Between two looks whether the store refuses: sooner than it could take again without being seen."""

TAKES_SECONDS = 10.0
"""How long it must have taken before that is said: where it flaps, its log does not."""

READER_CHECK_SECONDS = 5
"""How often the places of readers that were killed are freed: each may pin pages, so that the store would grow; and a
command that finds no place waits a little longer than this."""

TIME_WRITE_SECONDS = 3600
"""How often the store's time is written when nothing else is: over a reboot it goes on from the newest record."""


class RefusingStore(Protocol):
    """What is to be known of a committer."""

    @property
    def refusal(self) -> StoreError | None: ...
    @property
    def failure(self) -> StoreError | None: ...
    @property
    def room(self) -> Room: ...


class RefusalsTold:
    """Says in the log when the store begins to refuse deliveries, and when it takes them again."""

    def __init__(self, store: RefusingStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._log = log.get("tidegate")
        self._told: set[str] = set()
        """The codes that were said since it refuses."""
        self._since_ns = self._seen_ns = 0
        """When it began to refuse, and when it was last seen to."""

    def look(self) -> None:
        """Say what is new."""
        error, now_ns = self._store.refusal, self._clock.monotonic_ns()
        if error is not None:
            self._refuses(storage_refusal(error), now_ns)
        elif self._told and now_ns - self._seen_ns >= TAKES_SECONDS * 1e9:
            seconds = round((self._seen_ns - self._since_ns) / 1e9, 1)
            self._told.clear()
            self._log.info("the store takes deliveries again", refused_seconds=seconds)

    def _refuses(self, refusal: Refusal, now_ns: int) -> None:
        if not self._told:
            self._since_ns = now_ns
        self._seen_ns = now_ns
        if refusal.code not in self._told:
            self._told.add(refusal.code)
            is_short = refusal is STORAGE_FULL and self._store.failure is None
            reason = shortage(self._store.room) if is_short else str(self._store.failure)
            self._log.error("the store refuses deliveries", code=refusal.code, reason=reason)


async def tell_refusals(committer: Committer, clock: Clock) -> None:
    """Say when the store begins to refuse, and when it takes again."""
    told = RefusalsTold(committer, clock)
    while True:
        told.look()
        await trio.sleep(TELL_SECONDS)


async def guard_disk(room: Room, worker: Worker) -> None:
    """Look at the disk."""
    while True:
        await trio.sleep(LOOK_SECONDS)
        room.saw(await worker.run(room.look))


async def keep_watch(watch: Watch) -> None:
    """Look which sources are heard from."""
    while True:
        await trio.sleep(WATCH_SECONDS)
        watch.look()


async def keep_progress(progress: SourceProgress) -> None:
    """Look which sources get on."""
    while True:
        await trio.sleep(PROGRESS_SECONDS)
        await progress.look()


async def look_ahead(capacity: Capacity, worker: Worker) -> None:
    """Find out how long the store holds."""
    while True:
        await worker.run(capacity.look_ahead)
        await trio.sleep(LOOK_AHEAD_SECONDS)


async def write_time(committer: Committer) -> None:
    """Write the store's time."""
    while True:
        await trio.sleep(TIME_WRITE_SECONDS)
        await committer.write_time()


async def check_readers(store: Store, worker: Worker) -> None:
    """Free the places of readers that were killed."""
    while True:
        await trio.sleep(READER_CHECK_SECONDS)
        await worker.run(store.reader_check)
