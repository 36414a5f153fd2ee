"""The policy of retention, from its settings."""

from server.config.settings import DedupConfig, RetentionConfig
from storage.retain.policy import Retention

HOUR_MS = 3_600_000


def policy_of(retention: RetentionConfig, dedup: DedupConfig, *, applies: bool = True) -> Retention:
    """Return what these settings ask for.

    `applies`: they are in the configuration, or the store is from when there was retention; otherwise nothing leaves.
    """
    if not applies:
        return Retention(window_ms=dedup.window_ms)
    return Retention(
        archive_ms=_ms(retention.archive_hours),
        archive_bytes_max=retention.archive_bytes_max,
        receipt_ms=_ms(retention.receipt_hours),
        dead_ms=_ms(retention.dead_hours),
        window_ms=dedup.window_ms,
    )


def _ms(hours: float) -> int:
    """Return it in milliseconds: 0 for 0 hours alone, which means for ever."""
    return max(1, int(hours * HOUR_MS)) if hours else 0
