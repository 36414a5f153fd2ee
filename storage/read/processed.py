"""What the deduplication index is rebuilt from: the digests of processed events, chunk by chunk."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from storage.codec.records import DIGEST_BYTES
from storage.read.snapshot import Block, Snapshot, Snapshots
from storage.statuses import EventStatus

PROCESSED_EVENTS_MAX = 1 << 17
"""A chunk ends with the block that reaches it: 3 MB plus one block; twice that if all are known by their bodies too."""
_DIGEST = f"V{DIGEST_BYTES}"


class Processed(NamedTuple):
    """Processed events, for the deduplication index."""

    digests: bytes
    """16 bytes an event."""
    numbers: NDArray[numpy.uint64]
    oldest_ms: int
    """When the first of them was processed, by the store's time."""
    newest_ms: int
    """When the last of them was."""


def processed_since(snapshots: Snapshots, store_ms: int) -> Iterator[Processed]:
    """Yield them, see Reader."""
    start: int | None = 0
    while start is not None:
        chunks: list[Processed] = []
        with snapshots.take() as snapshot:
            start = _collect_processed(snapshot, start, store_ms, chunks)
        if chunks:
            yield Processed(
                b"".join(chunk.digests for chunk in chunks),
                numpy.concatenate([chunk.numbers for chunk in chunks]),
                min(chunk.oldest_ms for chunk in chunks),
                max(chunk.newest_ms for chunk in chunks),
            )


def _collect_processed(snapshot: Snapshot, start: int, store_ms: int, chunks: list[Processed]) -> int | None:
    """Add processed events to `chunks`; return the number to go on from, None at the end of the store."""
    count = 0
    for block in snapshot.blocks(start):
        rows = block.rows
        places = numpy.flatnonzero((rows["status"] == EventStatus.PROCESSED) & (rows["store_ms"] > store_ms))
        if len(places):
            digests = numpy.frombuffer(snapshot.digests(block), _DIGEST)[places].tobytes()
            numbers = (places + block.first).astype(numpy.uint64)
            times = rows["store_ms"][places]
            chunks.append(Processed(digests, numbers, int(times.min()), int(times.max())))
            chunks += _known_by_bodies(snapshot, block, numbers, chunks[-1])
            count += len(numbers)
        if snapshot.exhausted or count >= PROCESSED_EVENTS_MAX:
            return block.end
    return None


def _known_by_bodies(
    snapshot: Snapshot, block: Block, processed: NDArray[numpy.uint64], whole: Processed
) -> Iterator[Processed]:
    """Yield those of these events of a block, of which `whole` says when, that are known by their bodies too."""
    for first, packed in snapshot.body_digests_in(block.first, block.end):
        digests = numpy.frombuffer(packed, _DIGEST)
        low, high = processed.searchsorted(numpy.array([first, first + len(digests)], numpy.uint64)).tolist()
        if low < high:
            numbers = processed[low:high]
            own = digests[(numbers - numpy.uint64(first)).astype(numpy.intp)].tobytes()
            yield Processed(own, numbers, whole.oldest_ms, whole.newest_ms)
