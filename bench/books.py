"""After the load: every acknowledged event is in the store, nothing is pending, and the store is whole."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.child import HANG_SECONDS
from storage.check.verify import verify
from storage.codec.records import DIGEST_BYTES, digest
from storage.lmdb_store.environment import Store
from storage.read.reader import Reader
from storage.write.recovery import recover


def catch_up(path: Path) -> float:
    """How long it took, in seconds, until nothing was pending. Raises RuntimeError where that never is.

    Ingest is never slowed by what comes after it, so outcomes may come later than the load ends.
    """
    started = time.monotonic()
    recover(path)
    with _reading(path) as store:
        reader = Reader(store)
        while pending := {name: found.pending for name, found in reader.totals().items() if found.pending}:
            if time.monotonic() - started > HANG_SECONDS:
                raise RuntimeError(f"still pending: {pending}")
            time.sleep(0.02)
    return time.monotonic() - started


def check(path: Path, acknowledged: Mapping[str, int], unanswered: int = 0) -> dict[str, object]:
    """What the store of a stopped server says of these sources, all together. `unanswered` events of each may be there
    too, finished or not: the load ended before their answers came. Raises RuntimeError where an acknowledged event is
    missing or unfinished, or the store is damaged.
    """
    report = verify(path)
    with _reading(path) as store:
        totals = Reader(store).totals()
        used = store.used_bytes()
    for source, count in acknowledged.items():
        found = totals[source]
        if not count <= found.received <= count + unanswered or found.pending > unanswered:
            raise RuntimeError(f"{source}: acknowledged {count}, in the store {found}")
    if not report.ok:
        raise RuntimeError(f"the store is damaged: {report.problems}")
    stored = sum(totals[source].received for source in acknowledged)
    return {
        "acknowledged": sum(acknowledged.values()),
        "stored": stored,
        "pending": 0,
        "duplicates": sum(totals[source].duplicate for source in acknowledged),
        "disk_bytes_per_event": round(used / max(1, stored), 2),
        "verified": True,
    }


def check_ids(path: Path, source: str, acknowledged: Iterable[str]) -> int:
    """How many ids were looked for. Raises RuntimeError where one of them is not among the processed events."""
    wanted = {digest(source, event_id) for event_id in acknowledged}
    count = len(wanted)
    with _reading(path) as store:
        for part in Reader(store).processed_since(0):
            found = part.digests
            wanted.difference_update(found[at : at + DIGEST_BYTES] for at in range(0, len(found), DIGEST_BYTES))
    if wanted:
        raise RuntimeError(f"{len(wanted)} of {count} acknowledged ids are not in the store")
    return count


@contextmanager
def _reading(path: Path) -> Iterator[Store]:
    store = Store.open(path, mode="read")
    try:
        yield store
    finally:
        store.close()
