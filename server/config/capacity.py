"""The capacity plan: what a configuration may use at its limits, and where this machine has less.

Upper bounds, not forecasts: a limit that is never reached costs nothing. Memory that processors keep is not counted.
"""

import math
import os
import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.base.source import Source
from server.config.cgroup import memory_limits
from server.config.forecast import DAY_SECONDS, TYPICAL
from server.config.load import Config
from server.intake.events import SHARED_BYTES_MAX
from server.intake.intake import UNKNOWN_SHARE
from storage.dedup.index import MEMORY_RUNS_MIN, RUN_EVENTS_MAX
from storage.dedup.runs import ENTRY_BYTES
from storage.journal.records import JOURNAL_BYTES
from storage.lmdb_store.room import Disk, guard_bytes, read_disk

BASE_BYTES = 96 * 2**20
"""Interpreter and libraries (56 MiB after the imports, CPython 3.11), caches, and the memtable of the dedup index."""

CONNECTION_BYTES = 64 * 2**10
"""A task, its parser and its buffers; a head alone may take 16 KiB."""

PARSED_TIMES = 5
"""Parsed JSON takes five times its bytes in memory, for ordinary events."""

CONTAINER_BYTES = 232
"""The worst case: a dict with one key, CPython 3.11."""

PARKED_BYTES = 512
"""A number, a digest and a few facts: an event that waits for its retry, its turn, or its outcome's commit."""

ID_BYTES = ENTRY_BYTES
"""An id in the dedup index; a run takes as much again while it is merged."""

INDEX_SHARE = 8
"""The dedup index may use an eighth of the memory before its older part is spilled into files."""

EVENT_DISK_BYTES = round(TYPICAL.both)

OTHER_FILES = 64
"""Listeners, store, logs, wake-up pipes, and some for processors."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What this host has for one process."""

    memory_bytes: int
    disk_free_bytes: float
    """Free for the store, including what its files use already."""
    open_files_max: int
    disk_total_bytes: float
    """Of its file system; infinite if that does not say."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the memory."""

    name: str
    memory_bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What `tidegate check` prints."""

    memory: tuple[Part, ...]
    events_per_second: float
    """The sum of the configured rates: of the sources that have one and keep to it."""
    unlimited: tuple[str, ...]
    """The sources that are not in that sum."""
    disk_day_bytes: int
    dedup_bytes_per_rate: int
    """Of the dedup index, per event a second: in memory, or on disk beyond `memory_ids_max`."""
    memory_ids_max: int
    """Ids that the dedup index holds in memory."""
    dedup_file_bytes: int
    """Its files beside the store, at the configured rates."""
    open_files: int
    warnings: tuple[str, ...]

    @property
    def memory_bytes(self) -> int:
        return sum(part.memory_bytes for part in self.memory)


def plan(config: Config, machine: Machine) -> Plan:
    """Return the plan of this configuration on this machine."""
    limited = [each for each in config.sources.values() if each.keeps_to_rate]
    events_per_second = math.fsum(each.rate_limit_events_per_second for each in limited)
    ids_per_second = math.fsum(each.rate_limit_events_per_second * _entries_an_event(each) for each in limited)
    window_seconds = config.dedup.window_hours * 3600
    ids, ids_max = round(ids_per_second * window_seconds), memory_ids_max(config, machine)
    memory = _memory(config, _index_bytes(min(ids, ids_max)))
    open_files = config.limits.connections_max + OTHER_FILES
    return Plan(
        memory=memory,
        events_per_second=events_per_second,
        unlimited=tuple(each.id for each in config.sources.values() if not each.keeps_to_rate),
        disk_day_bytes=round(events_per_second * DAY_SECONDS * EVENT_DISK_BYTES),
        dedup_bytes_per_rate=round(window_seconds * ID_BYTES),
        memory_ids_max=ids_max,
        dedup_file_bytes=max(0, ids - ids_max) * ID_BYTES,
        open_files=open_files,
        warnings=tuple(_warnings(config, machine, sum(part.memory_bytes for part in memory), open_files)),
    )


def memory_ids_max(config: Config, machine: Machine) -> int:
    """Return `dedup.memory_ids_max`, or what this machine's memory has room for."""
    room = machine.memory_bytes // INDEX_SHARE
    return config.dedup.memory_ids_max or room * MEMORY_RUNS_MIN // (MEMORY_RUNS_MIN + 1) // ID_BYTES


def _entries_an_event(source: Source) -> int:
    """Return how many entries an event has in the dedup index: one of its id, and perhaps one of its body."""
    return 2 if source.same_body == "duplicate" else 1


def _index_bytes(ids: int) -> int:
    """Return the memory of this many ids, with the copy of a run that is being merged."""
    return (ids + min(ids, RUN_EVENTS_MAX)) * ID_BYTES


def _memory(config: Config, dedup_bytes: int) -> tuple[Part, ...]:
    limits, queue = config.limits, config.queue
    decoded = max(limits.decoded_bytes_max, *(source.decoded_bytes_max for source in config.sources.values()), 0)
    parsing = decoded + max(PARSED_TIMES * decoded, limits.json_containers_max * CONTAINER_BYTES)
    processed = [source for source in config.sources.values() if not source.archive_only]
    return (
        Part("server", BASE_BYTES, "interpreter, libraries, caches"),
        Part("connections", limits.connections_max * CONNECTION_BYTES, "limits.connections_max"),
        Part(
            "bodies in flight",
            2 * limits.in_flight_bytes_max + limits.in_flight_bytes_max // UNKNOWN_SHARE,
            f"limits.in_flight_bytes_max, as much being written, and 1/{UNKNOWN_SHARE} with their key in them",
        ),
        Part("journal", 2 * JOURNAL_BYTES, "acknowledged, and on its way into the store"),
        Part("parsing", parsing, "one body at a time: decoded_bytes_max, limits.json_containers_max"),
        Part("queues", queue.bytes_max, "queue.bytes_max, all sources together"),
        Part(
            "retries and outcomes",
            2 * len(config.sources) * queue.events_max * PARKED_BYTES,
            "queue.events_max a source of each",
        ),
        Part(
            "with processors",
            PARSED_TIMES * (queue.bytes_max + len(processed) * SHARED_BYTES_MAX) if processed else 0,
            "events built from queue.bytes_max, and what batches give to theirs",
        ),
        Part("dedup", dedup_bytes, "dedup.window_hours at the configured rates, at most dedup.memory_ids_max"),
    )


def _warnings(config: Config, machine: Machine, memory_bytes: int, open_files: int) -> list[str]:
    found = []
    if not config.sources:
        found.append("there are no sources: every request will be answered 401")
    if memory_bytes > machine.memory_bytes:
        found.append(
            f"the limits allow {size(memory_bytes)} of memory, and this machine has {size(machine.memory_bytes)}"
        )
    kept_bytes = guard_bytes(config.storage.free_bytes_min, machine.disk_total_bytes)
    if machine.disk_free_bytes < kept_bytes:
        found.append(
            f"the store's disk has {size(machine.disk_free_bytes)} for it, and {size(kept_bytes)} are to stay free "
            "(storage.free_bytes_min): deliveries will be refused"
        )
    elif config.storage.map_size_bytes > machine.disk_free_bytes - kept_bytes:
        found.append(
            f"storage.map_size_bytes is {size(config.storage.map_size_bytes)}, and its disk has "
            f"{size(machine.disk_free_bytes)} for it, of which {size(kept_bytes)} stay free: storage_full comes when "
            "the rest is used"
        )
    if open_files > machine.open_files_max:
        found.append(
            f"limits.connections_max needs {open_files} open files, and {machine.open_files_max} are allowed here: "
            f"raise them (ulimit -n, LimitNOFILE=) or lower limits.connections_max"
        )
    return found


def read_machine(store: Path) -> Machine:
    """Return what a process started here would have. `store`, its directory, need not exist yet."""
    disk = _disk(store)
    return Machine(_memory_bytes(), disk.free_bytes, _open_files_max(), disk.total_bytes)


def _memory_bytes() -> int:
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *memory_limits()])


def _disk(store: Path) -> Disk:
    """Return the disk of the store; what its files use already counts as free."""
    taken = 0
    with suppress(OSError):  # missing, or not readable for us
        taken = sum(each.stat().st_blocks * 512 for each in store.iterdir())
    for place in (store, *store.parents):
        try:
            disk = read_disk(place)
        except OSError:
            continue
        return Disk(disk.total_bytes, disk.free_bytes + taken)
    return Disk(math.inf, taken)


def _open_files_max() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft


def size(count: float) -> str:
    """Return a number of bytes for people: 1.5 GiB."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}" if unit != "bytes" else f"{count:.0f} bytes"
        count /= 1024
    return f"{count:.3g} TiB" if count < 1000 else f"{count:.0f} TiB"
