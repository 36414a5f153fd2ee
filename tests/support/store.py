"""What the tests of the store share: deliveries to append, and an LMDB environment that counts and fails."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import lmdb

from storage.codec.records import IDENTITY_BYTES
from storage.deliveries import WHOLE_ITEM, Deliveries, NumberedDeliveries, merged
from storage.in_hand.in_hand import Hand, InHand, Whose
from storage.lmdb_store.environment import Store
from storage.model import Append, Group, StatusChange
from storage.statuses import EventStatus
from storage.store_time import UNKNOWN_BOOT
from storage.write.writer import Writer

MAP_SIZE_BYTES = 1 << 28
AT_MS = 1_700_000_000_000
STORE_MS = 1_600_000_020_000
"""The store's time is another than the wall clock."""
SUFFIX = "abcdef"
"""What the ids of deliveries end with."""


def delivery(
    first: int,
    ids: Sequence[str | None],
    *,
    source_id: str = "demo",
    source_type: str = "webhook",
    body: bytes = b"{}",
    received_at_ms: int = AT_MS,
    body_hash: str = "",
) -> NumberedDeliveries:
    """One delivery of events with these ids (None: the generated one). `body_hash`: if equal bodies are duplicates."""
    count = len(ids)
    return NumberedDeliveries(
        first,
        SUFFIX,
        Deliveries(
            source_id=source_id,
            source_type=source_type,
            received_at_ms=[received_at_ms],
            remote_addrs=["127.0.0.1"],
            headers=[{"content-type": "application/json"}],
            sent_at=[None],
            batched=[count > 1],
            batch_sizes=[count],
            rejected=[()],
            counts=[count],
            bodies=[body],
            body_hashes=[body_hash] if body_hash else (),
            ids=list(ids),
            id_from=["generated" if found is None else "body.inbound_event_id" for found in ids],
            provider_ids=list(ids),
            types=["order.paid"] * count,
            indexes=list(range(count)),
            payload_from=[WHOLE_ITEM] * count,
            unsigned=[""] * count,
        ),
    )


def random_ids(count: int, seed: int = 5) -> list[str]:
    """Ids that no compression makes much shorter."""
    random = Random(seed)
    return [random.randbytes(16).hex() for _ in range(count)]


def singles(
    first: int, ids: Sequence[str | None], *, source_id: str = "demo", bodies: Sequence[bytes] = ()
) -> NumberedDeliveries:
    """Deliveries of one event each with these ids (None: the generated one)."""
    bodies = bodies or [b"{}"] * len(ids)
    return merged(
        [
            delivery(first + at, [event_id], source_id=source_id, body=body)
            for at, (event_id, body) in enumerate(zip(ids, bodies, strict=True))
        ]
    )


def changed(numbered: NumberedDeliveries, **columns: object) -> NumberedDeliveries:
    """The same deliveries with other columns."""
    return replace(numbered, deliveries=replace(numbered.deliveries, **columns))  # type: ignore[arg-type]


def numbered(first: int, count: int, *, source_id: str = "demo", body: bytes = b"{}") -> Append:
    """A delivery of `count` pending events, with ids that follow from their numbers."""
    ids = [f"id-{first + at}" for at in range(count)]
    return Append(delivery(first, ids, source_id=source_id, body=body), count, EventStatus.DEFERRED)


def outcome(
    status: EventStatus, numbers: Sequence[int], *, source_id: str = "demo", attempts: int = 0, **rest: Any
) -> StatusChange:
    return StatusChange(source_id, status, numbers, [attempts] * len(numbers), AT_MS + 1, STORE_MS + 1, **rest)


@contextmanager
def opened(
    path: Path, *, map_size_bytes: int = MAP_SIZE_BYTES, open_environment: Callable[..., Any] = lmdb.open
) -> Iterator[tuple[Store, Writer]]:
    """A store that is written to, and its writer."""
    store = Store.open(path, map_size_bytes=map_size_bytes, mode="write", open_environment=open_environment)
    try:
        yield store, Writer(store)
    finally:
        store.close()


def filled(path: Path, groups: Sequence[Group]) -> None:
    """Make a store of these groups, and close it."""
    with opened(path) as (_, writer):
        for group in groups:
            writer.write(group)


def unrecorded_hand() -> Hand:
    """A hand of which nothing is written down: there is no room for the file."""
    nowhere = Path("/dev/null/nowhere")
    return InHand(nowhere, Whose(UNKNOWN_BOOT, bytes(IDENTITY_BYTES)), {}, lambda error: None).hand()


class Faults:
    """Counts the calls into LMDB and makes one of them fail. Give `open` to Store.open."""

    def __init__(self) -> None:
        self.calls = 0
        self.fail_at: int | None = None
        self.error: Exception = lmdb.Error("mdb_put: Operation failed")

    def open(self, *args: Any, **options: Any) -> "_Counted":
        return _Counted(lmdb.open(*args, **options), self)

    def called(self) -> None:
        self.calls += 1
        if self.calls == self.fail_at:
            raise self.error


class _Counted:
    """An LMDB object whose methods count; transactions and cursors that it gives count too."""

    PASSED = ("abort", "close", "info")

    def __init__(self, inner: Any, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name in self.PASSED:
            return method

        def counted(*args: Any, **options: Any) -> Any:
            self._faults.called()
            if name == "open_db" and "txn" in options:
                options["txn"] = options["txn"]._inner
            found = method(*args, **options)
            return _Counted(found, self._faults) if name in ("begin", "cursor") else found

        return counted

    def __enter__(self) -> "_Counted":
        self._inner.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._inner.__exit__(*error)
