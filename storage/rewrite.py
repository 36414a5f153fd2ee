"""What a transaction changes in records that are there, as planned by a reader; see `storage/forget`."""

from collections.abc import Mapping, Sequence

from storage.frozen import frozen
from storage.removal import Place, Value


@frozen
class Rewrite:
    """Records without what is forgotten. They keep their keys and their events."""

    deletions: Sequence[Place]
    puts: Sequence[Value]
    expired: Mapping[str, int]
    """By source: events whose record has lost its bodies by this, before the front of bodies."""
    since_ms: int
    """By the wall clock; since then it is to be overwritten."""


@frozen
class Erasure:
    """One step by which something is forgotten."""

    rewrite: Rewrite | None = None
    overwrite: Sequence[int] = ()
    """Pages that may hold what was forgotten, ascending: those of them that are free are overwritten."""
    erased: bool = False
    """Whether all of it is overwritten now."""
