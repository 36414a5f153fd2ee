"""Every setting but a source's: its name, default, limits and reason.

With those of `source_settings.py` this is the one table behind the reader, the example file and the page.

`python -m tests.unit.test_example_config` and `python -m tests.unit.test_configuration_page` write these two anew. What
a setting may cost in memory is in `capacity.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from server.base.source import Source
from server.config.values import (
    ADDRESS,
    ADMIN_TOKEN,
    BOOLEAN,
    NETWORKS,
    PATH,
    Address,
    Network,
    count,
    number,
    setting,
)
from storage.retain.policy import ON_ITS_WAY_MS

GIB = 2**30
TIB = 2**40
HOURS_MAX = 876_000
"""A hundred years."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the server listens, and which proxies it trusts."""

    bind: Address = setting(
        "127.0.0.1:8080", ADDRESS, "The public side: ingest. [::] takes IPv4 too; localhost is 127.0.0.1 and ::1."
    )
    admin_bind: Address = setting("127.0.0.1:8081", ADDRESS, "Metrics, health, receipts. Never public.")
    admin_token: bytes = setting(
        "", ADMIN_TOKEN, "Bearer token of the admin side; required as soon as it is not on loopback.", shown=False
    )
    fast_lane: bool = setting(
        True, BOOLEAN, "Deliveries on plain HTTP/1.1 skip the complete front end; false sends all through that one."
    )
    trusted_proxies: tuple[Network, ...] = setting(
        [], NETWORKS, "Proxies whose X-Forwarded-For is believed: the rightmost address outside them is the client."
    )


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where the store is, and how far it may grow."""

    path: Path = setting("data", PATH, "The store's directory; relative to the directory of this file.")
    map_size_bytes: int = setting(
        64 * GIB, count(2**20, 128 * TIB), "Ceiling of the store's file. It is sparse: only what is used takes disk."
    )
    free_bytes_min: int = setting(
        0,
        count(1, 128 * TIB, zero="the lesser of 1 GiB and 5 % of the file system"),
        "Below it deliveries get 503 storage_full. Pages that the store can use again count as free.",
    )


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    """How long things stay in the store. One from before there was retention loses nothing without this section."""

    archive_hours: float = setting(
        168,
        number(0, HOURS_MAX, zero="for ever"),
        "How long events and deliveries stay, with their bodies, after their outcomes.",
    )
    archive_bytes_max: int = setting(
        0,
        count(1, 128 * TIB, zero="no bound"),
        "Compressed bodies in the store: over it the oldest leave first, even before archive_hours.",
    )
    receipt_hours: float = setting(
        720,
        number(0, HOURS_MAX, zero="for ever"),
        "How long ids, outcomes and receipts stay; at least as long as bodies, and dedup.window_hours and an hour.",
    )
    dead_hours: float = setting(
        0,
        number(0, HOURS_MAX, zero="for ever"),
        "How long dead events stay, with their bodies; until then they can be requeued.",
    )


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """What one request, one connection and all of them together may cost."""

    # Where they are enforced: a head's, which are fixed, in http/head.py; a body's bytes in http/admitted.py, what is
    # in it in intake (IntakeLimits: decode.py, parse.py, normalise.py); a connection's in both front ends, which get
    # them as ConnectionLimits (http/frontend.py), and in http/connections.py.
    body_bytes_max: int = setting(2**20, count(1, GIB), "A body as received. Twice a full batch of the Segment SDKs.")
    decoded_bytes_max: int = setting(4 * 2**20, count(1, GIB), "A body after Content-Encoding.")
    json_containers_max: int = setting(
        200_000, count(1, 2**31), '"[" and "{" in a body: they cost memory far beyond their bytes.'
    )
    batch_events_max: int = setting(2500, count(1, 1_000_000), "Items in one request. The same as Segment's own limit.")
    in_flight_bytes_max: int = setting(
        64 * 2**20,
        count(1, TIB),
        "Bodies being read or waiting for their commit, all together; at least body_bytes_max.",
    )
    connections_max: int = setting(
        4096, count(1, 1_000_000), "Open connections. When full, the longest idle ones make room."
    )
    header_timeout_seconds: float = setting(
        10, number(0, 3600), "The longest that a request's head may take to arrive."
    )
    body_timeout_seconds: float = setting(30, number(0, 3600), "The longest that a request's body may take to arrive.")
    keep_alive_timeout_seconds: float = setting(
        75, number(0, 86400), "An idle connection is closed after it. Longer than common proxies keep theirs."
    )
    drain_timeout_seconds: float = setting(
        30, number(0, 86400, zero="do not wait"), "After SIGTERM: the longest wait for running requests and processors."
    )


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """What waits in memory for its processor; the rest waits on disk."""

    events_max: int = setting(20_000, count(1, 10_000_000), "Events in memory, per source.")
    bytes_max: int = setting(
        64 * 2**20,
        count(1, TIB),
        "Bodies in memory, all sources together. A source gets more only while it holds less than is still free.",
    )
    backlog_events_max: int = setting(
        1_000_000,
        count(0, 2**48),
        "Pending events per source, memory and disk; beyond it 503 overloaded. 0: until the store is full.",
    )


@dataclass(frozen=True, slots=True)
class DedupConfig:
    """How long a processed event is remembered."""

    window_hours: float = setting(
        96,
        number(0, 87_600),
        "How long a processed id is known after its outcome, to the minute. Common senders retry for up to 75.6 h.",
    )
    memory_ids_max: int = setting(
        0,
        count(0, 2**40),
        "Known ids in memory; older ones are in files. 0: what an eighth of this machine's memory holds.",
    )

    @property
    def window_ms(self) -> int:
        return int(self.window_hours * 3_600_000)


SECTIONS: Mapping[str, type] = {
    "server": ServerConfig,
    "storage": StorageConfig,
    "limits": LimitsConfig,
    "queue": QueueConfig,
    "dedup": DedupConfig,
    "retention": RetentionConfig,
}


@dataclass(frozen=True, slots=True)
class Config:
    """One configuration file. No secret is in its repr."""

    path: Path
    server: ServerConfig
    storage: StorageConfig
    limits: LimitsConfig
    queue: QueueConfig
    dedup: DedupConfig
    retention: RetentionConfig
    retention_is_configured: bool
    """Whether the file has the section: until then a store from before there was retention loses nothing."""
    sources: Mapping[str, Source]

    @property
    def receipt_hours(self) -> float:
        """How long ids, outcomes and receipts stay at least: as `retention.receipt_hours`, the dedup window with
        an hour for what is on its way, and the bodies ask; 0: for ever."""
        bodies, receipts = self.retention.archive_hours, self.retention.receipt_hours
        if receipts == 0 or (bodies == 0 and self.retention.archive_bytes_max == 0):
            return 0
        return max(bodies, receipts, self.dedup.window_hours + ON_ITS_WAY_MS / 3_600_000)
