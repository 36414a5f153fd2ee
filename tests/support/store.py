"""What the tests of the store share: deliveries to append, and an LMDB environment that counts and fails."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from storage.codec.records import delivery_id
from storage.lmdb_store.environment import Store
from storage.model import Append, Columns, Facts, Group, Singles, StatusChange, Stored
from storage.statuses import EventStatus
from storage.write.writer import Writer

MAP_SIZE_BYTES = 1 << 28
AT_MS = 1_700_000_000_000


def delivery(
    first: int, ids: Sequence[str | None], *, source_id: str = "demo", body: bytes = b"{}", received_at_ms: int = AT_MS
) -> Stored:
    """A delivery of events with these ids (None: the generated one)."""
    count = len(ids)
    facts = Facts(
        source_id=source_id,
        source_type="webhook",
        received_at_ms=received_at_ms,
        remote_addr="127.0.0.1",
        headers={"content-type": "application/json"},
        batched=count > 1,
        batch_size=count,
        ids=list(ids),
        id_from=["generated" if found is None else "body.inbound_event_id" for found in ids],
        provider_ids=list(ids),
        types=["order.paid"] * count,
        indexes=list(range(count)),
        rejected=[],
        sent_at=None,
    )
    return Stored(first, delivery_id(first, "abcdef"), facts, body)


def singles(first: int, ids: Sequence[str | None], *, source_id: str = "demo", bodies: Sequence[bytes] = ()) -> Singles:
    """Deliveries of one event each with these ids (None: the generated one)."""
    alone = [delivery(first + at, [event_id], source_id=source_id) for at, event_id in enumerate(ids)]
    columns = Columns(
        source_id,
        "webhook",
        AT_MS,
        [stored.facts.remote_addr for stored in alone],
        [stored.facts.headers for stored in alone],
        list(ids),
        [stored.facts.id_from[0] for stored in alone],
        list(ids),
        [stored.facts.types[0] for stored in alone],
        [None] * len(ids),
        list(bodies) or [b"{}"] * len(ids),
    )
    return Singles(first, "abcdef", columns)


def numbered(first: int, count: int, *, source_id: str = "demo", body: bytes = b"{}") -> Append:
    """A delivery of `count` pending events, with ids that follow from their numbers."""
    stored = delivery(first, [f"id-{first + at}" for at in range(count)], source_id=source_id, body=body)
    return Append(stored, count, EventStatus.DEFERRED)


def outcome(
    status: EventStatus, numbers: Sequence[int], *, source_id: str = "demo", attempts: int = 0, **rest: Any
) -> StatusChange:
    return StatusChange(source_id, status, numbers, [attempts] * len(numbers), AT_MS + 1, **rest)


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
