"""One step of the look-up index, as planned by a reader and written with a group."""

from collections.abc import Sequence

from storage.frozen import frozen

DELETIONS_MAX = 64
"""In one step: each gives up the interpreter lock."""


@frozen
class IndexStep:
    """Rows of the database `index` that are put and removed in one transaction."""

    puts: Sequence[tuple[bytes, bytes]] = ()
    deletions: Sequence[bytes] = ()
    covered: Sequence[int] | None = None
    """How far each level reaches then, see `storage/codec/index_rows.py`; None: as before."""

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return not (self.puts or self.deletions or self.covered)
