"""Whether the process lives and whether it can take deliveries, with the reasons by name."""

from collections.abc import Callable, Iterator, Mapping

import trio

from server.base.refusal import Refusal, refuse
from server.config.capacity import size
from server.flow.committer import Committer
from server.flow.engine import Engine
from server.flow.indexing import IndexingTask
from server.flow.overwriting import Overwriting
from server.flow.retention import RetentionTask
from server.observe.outlook import Capacity
from server.observe.progress import SourceProgress
from server.observe.watch import Watch
from storage.dedup.index import DedupIndex
from storage.errors import StoreError, StoreFull
from storage.journal.journal import Journal
from storage.lmdb_store.room import Room

DRAINING = refuse("draining", "the server is shutting down")
STARTING = refuse("starting", "the server is starting")
STORAGE_FULL = refuse("storage_full", "the store is full; nothing can be kept now")
STORAGE_FAILED = refuse("storage_failed", "the store cannot be written now")

RETENTION_UNSET = (
    "the store is from before there was retention: nothing leaves it until [retention] is in the configuration; "
    "tidegate check says what would"
)

RELOAD_REFUSED = (
    "the last reload was refused, and the configuration of before is in force: tidegate check and the log say why"
)
"""No word of the file: whoever can send may ask for readiness."""

HOUR_MS = 3_600_000
CLOCK_STEP_MS_MAX = HOUR_MS
"""A larger step of the wall clock is said: a change to or from summer time that set the clock itself is one."""


class Health:
    """Asked by the gate before anything else, and by the health routes."""

    def __init__(
        self,
        committer: Committer,
        engine: Engine,
        journal: Journal,
        index: DedupIndex,
        index_ready: trio.Event,
        *,
        retention: RetentionTask,
        indexing: IndexingTask,
        retention_unset: bool,
        watch: Watch,
        progress: SourceProgress,
        capacity: Capacity,
        overwriting: Overwriting,
        reload_succeeded: Callable[[], bool],
    ) -> None:
        """`retention_unset`: nothing leaves, since the store is from before there was retention, and nobody asked."""
        self._committer = committer
        self._retention = retention
        self._indexing = indexing
        self._retention_unset = retention_unset
        self._watch = watch
        self._progress = progress
        self._capacity = capacity
        self._overwriting = overwriting
        self._reload_succeeded = reload_succeeded
        self._journal = journal
        self._engine = engine
        self.started = False
        self.draining = False
        self._index = index
        self._index_ready = index_ready

    def refusal(self) -> Refusal | None:
        """Return why no delivery can be taken now, if so."""
        if self.draining:
            return DRAINING
        if not self.started:
            return STARTING
        error = self._committer.refusal
        return None if error is None else storage_refusal(error)

    def command_refusal(self) -> Refusal | None:
        """Return why nothing can be changed now, if so: for what goes on while deliveries find no room."""
        refusal = self.refusal()
        return None if refusal is STORAGE_FULL and self._committer.failure is None else refusal

    def live(self) -> bool:
        """Return whether the process works; only a restart would help if not."""
        return not self._committer.lost

    def ready(self) -> tuple[bool, Mapping[str, object]]:
        """Return whether deliveries can be taken; with the reasons why not and the warnings, by name."""
        refusal = self.refusal()
        reasons = [] if refusal is None else [{"reason": refusal.code, "message": self._words(refusal)}]
        status = "ready" if refusal is None else "not ready"
        return refusal is None, {"status": status, "reasons": reasons, "warnings": self._warnings()}

    def _words(self, refusal: Refusal) -> str:
        if refusal is not STORAGE_FULL:
            return refusal.message
        return f"{refusal.message}: {self._committer.failure or shortage(self._committer.room)}"

    def _warnings(self) -> list[dict[str, str]]:
        of_sources = (*self._of_processors(), *self._watch.warnings(), *self._progress.warnings())
        found = (*self._of_configuration(), *self._of_store(), *of_sources)
        return [{"warning": name, "message": message} for name, message in found]

    def _of_configuration(self) -> Iterator[tuple[str, str]]:
        """Yield each warning's name and words, as all of these do."""
        if not self._reload_succeeded():
            yield "reload_refused", RELOAD_REFUSED
        if self._retention_unset:
            yield "retention_unset", RETENTION_UNSET
        if message := self._clock_warning():
            yield "clock", message

    def _of_store(self) -> Iterator[tuple[str, str]]:
        if not self._index_ready.is_set():
            yield (
                "index_rebuilding",
                "the dedup index is being rebuilt; deliveries are kept, their processing starts afterwards",
            )
        if (unreadable := self._retention.error) is not None:
            yield "retention_failed", f"nothing leaves the store, since it cannot be read: {unreadable}"
        if (stopped := self._indexing.error) is not None:
            yield "index_stopped", f"nothing more is put into the look-up index; look-ups are slower: {stopped}"
        if message := self._overwriting.warning():
            yield "erasing", message
        if (unwritten := self._index.spill_error) is not None:
            yield (
                "index_in_memory",
                f"the dedup index outgrows dedup.memory_ids_max and cannot be written to files: {unwritten}",
            )
        if (failed := self._journal.error) is not None:
            yield "no_journal", f"the journal cannot be written, so each answer waits for a transaction: {failed}"
        if message := self._capacity.warning():
            yield "store_week_left", message

    def _of_processors(self) -> Iterator[tuple[str, str]]:
        for source_id in self._engine.paused:
            yield "paused", f"source {source_id} is paused: its events are taken and kept, and wait until it goes on"
        for source_id in self._engine.stuck:
            yield (
                "processor_hanging",
                f"source {source_id}: a call of its previous processor does not return; restart the server",
            )
        for source_id in self._engine.without_thread:
            yield "threads", f"source {source_id}: no thread can be had for its processor; it waits and tries again"

    def _clock_warning(self) -> str:
        """Return what is wrong with the wall clock, "" if nothing is."""
        clock = self._committer.store_clock
        if clock.withholds:
            ahead = _hours(clock.now().withheld_ms)
            return (
                f"after a reboot the wall clock, {ahead} ahead, is not believed; if it is right: tidegate trust-clock"
            )
        stepped = clock.stepped_ms
        if abs(stepped) <= CLOCK_STEP_MS_MAX:
            return ""
        return f"the wall clock was set {'ahead' if stepped > 0 else 'back'} by {_hours(abs(stepped))}"


def shortage(room: Room) -> str:
    """Return what deliveries find no room in, with what is free and what is kept of it."""
    share, place, setting = room.disk, "disk", "storage.free_bytes_min"
    if room.map.free_bytes - room.map.kept_bytes < share.free_bytes - share.kept_bytes:
        share, place, setting = room.map, "map", "of storage.map_size_bytes, for outcomes"
    free, kept = size(max(0, share.free_bytes)), size(share.kept_bytes)
    return f"its {place} has {free} left for it, and {kept} are kept ({setting})"


def _hours(ms: int) -> str:
    return f"{ms / HOUR_MS:.1f} h"


def storage_refusal(error: StoreError) -> Refusal:
    """Return what a sender hears while the store is in this state."""
    return STORAGE_FULL if isinstance(error, StoreFull) else STORAGE_FAILED
