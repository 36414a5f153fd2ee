"""server/config/retention.py: the policy that the settings ask for."""

from server.config.retention import policy_of
from server.config.settings import DedupConfig, RetentionConfig
from storage.retain.policy import Retention


def test_hours_are_taken_as_milliseconds() -> None:
    """Fractions of an hour count; where nothing applies nothing leaves."""
    settings = RetentionConfig(archive_hours=0.5, archive_bytes_max=7, receipt_hours=2, dead_hours=1.5)
    dedup = DedupConfig(window_hours=1)
    asked = Retention(1_800_000, 7, 7_200_000, 5_400_000, 3_600_000)
    assert policy_of(settings, dedup) == asked
    assert policy_of(settings, dedup, applies=False) == Retention(window_ms=3_600_000)


def test_less_than_a_millisecond_is_not_for_ever() -> None:
    """0 means for ever; a time so short that it would be rounded to 0 is the shortest there is."""
    found = policy_of(RetentionConfig(archive_hours=1e-9, receipt_hours=5e-324, dead_hours=1e-7), DedupConfig())
    assert (found.archive_ms, found.receipt_ms, found.dead_ms) == (1, 1, 1)
    unbounded = policy_of(RetentionConfig(archive_hours=0, receipt_hours=0, dead_hours=-0.0), DedupConfig())
    assert (unbounded.archive_ms, unbounded.receipt_ms, unbounded.dead_ms) == (0, 0, 0)
