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
        archive_ms=int(retention.archive_hours * HOUR_MS),
        archive_bytes_max=retention.archive_bytes_max,
        receipt_ms=int(retention.receipt_hours * HOUR_MS),
        dead_ms=int(retention.dead_hours * HOUR_MS),
        window_ms=dedup.window_ms,
    )
