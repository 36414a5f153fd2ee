"""How much of the map is kept, since when it is full even a deletion fails; who keeps it is `room.py`."""

RESERVE_SHARE = 20
RESERVE_BYTES_MIN = 256 * 1024 * 1024
RESERVE_SHARE_OF_TINY = 4


def reserve_bytes(map_size_bytes: int) -> int:
    """Return how much of a map of this size is kept for outcomes, and for all else that deletes or changes."""
    return min(max(map_size_bytes // RESERVE_SHARE, RESERVE_BYTES_MIN), map_size_bytes // RESERVE_SHARE_OF_TINY)
