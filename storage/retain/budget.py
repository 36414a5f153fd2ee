"""How much one step of retention may do: each call of LMDB gives up the interpreter lock, and may wait long for it."""

CALLS_MAX = 64
"""Deletions and puts of one kind in a step; the record or block that exceeds it is the last."""

WRITTEN_BYTES_MAX = 4 * 2**20
"""Of what is written anew for the sake of what stays."""

LOOKS_MAX = 1000
"""Records that a step looks at: so long is what it reads pinned."""

ROUND_LOOKS_MAX = 250
"""The same of what was kept behind a front: a pass takes some milliseconds, a round over a million hours."""


class Budget:
    """Counts down while a step is planned."""

    def __init__(self, calls_max: int = CALLS_MAX, looks_max: int = LOOKS_MAX) -> None:
        self._calls = calls_max
        self._bytes = WRITTEN_BYTES_MAX
        self._looks = looks_max

    def look(self, records: int = 1) -> None:
        """Count records that are read."""
        self._looks -= records

    def spend(self, calls: int, written_bytes: int = 0) -> None:
        """Count what is changed."""
        self._calls -= calls
        self._bytes -= written_bytes

    @property
    def is_full(self) -> bool:
        """Whether as much is changed as may be."""
        return self._calls <= 0 or self._bytes <= 0

    @property
    def spent(self) -> bool:
        """Whether nothing more is to be looked at."""
        return self.is_full or self._looks <= 0
