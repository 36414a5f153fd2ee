"""One step of the look-up index, as planned by a reader and written with a group."""

from collections.abc import Sequence

from storage.frozen import frozen


@frozen
class IndexStep:
    """Rows of the database `index` that are put and removed in one transaction."""

    puts: Sequence[tuple[bytes, bytes]] = ()
    deletions: Sequence[bytes] = ()
    covered: Sequence[int] | None = None
    """How far each level reaches then, see `storage/codec/index_rows.py`; None: as before."""
