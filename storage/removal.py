"""What retention takes out of the store in one transaction, as planned by a reader and judged again by the writer."""

from collections.abc import Sequence

from storage.frozen import frozen

Place = tuple[str, bytes]
"""A database and a key."""
Value = tuple[str, bytes, bytes]
"""A database, a key and a value."""


@frozen
class BodiesRemoval:
    """The bodies of some deliveries of one record of the log, which leave while their facts stay."""

    source_id: str
    leaving: Sequence[range]
    """The numbers of their events. All are in one block."""
    deletions: Sequence[Place]
    puts: Sequence[Value]
    """The records into which it is split, if some of its deliveries keep their bodies."""

    @property
    def is_bodiless(self) -> bool:
        """Whether there never was a body: what leaves is counted only."""
        return not (self.deletions or self.puts)


@frozen
class ReceiptsRemoval:
    """Records of the log that leave altogether, with their part of a block."""

    first: int
    """Of the block."""
    leaving: Sequence[tuple[str, range]]
    """Source and numbers of each record."""
    kept: Sequence[range]
    """The other numbers of the block: each run of them becomes a block."""
    deletions: Sequence[Place]

    @property
    def end(self) -> int:
        """The number after the last one of the block."""
        return max(numbers.stop for numbers in (*self.kept, *(each for _, each in self.leaving)))


@frozen
class Removal:
    """One step of retention."""

    bodies: Sequence[BodiesRemoval] = ()
    receipts: Sequence[ReceiptsRemoval] = ()
    results: Sequence[tuple[bytes, bytes | None]] = ()
    """Records of `results` by key, and what stays of each; None: nothing."""
    bodies_front: int = 0
    """The number before which all bodies have left then but those that are kept; 0: as before."""
    receipts_front: int = 0
    """The same of receipts."""
    dead_may_leave: bool = True
    """Whether dead events may leave. Not while some are being given back to a processor."""
    more: bool = False
    """Whether there is more to do at once."""

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return not (self.bodies or self.receipts or self.results or self.bodies_front or self.receipts_front)
