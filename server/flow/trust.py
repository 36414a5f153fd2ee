"""What it would mean to believe the wall clock, where time has been withheld."""

from storage.frozen import frozen
from storage.read.reader import Reader
from storage.store_time import StoreTime


@frozen
class Trusted:
    """By how much the store's time goes on, and how many ids are no longer known then to events that come."""

    withheld_ms: int
    ids: int

    def report(self, *, dry_run: bool) -> dict[str, object]:
        """Return it as the command and the admin side show it."""
        return {"dry_run": dry_run, "withheld_seconds": self.withheld_ms / 1000, "ids_expiring": self.ids}


def foreseen(reader: Reader, now: StoreTime, window_ms: int) -> Trusted:
    """Return what comes of it. Reads the statuses of all events, unless no time is withheld."""
    withheld_ms = now.withheld_ms
    after_ms = max(0, now.store_ms - window_ms)
    until_ms = max(0, now.store_ms + withheld_ms - window_ms)
    return Trusted(withheld_ms, reader.count_processed(after_ms, until_ms) if until_ms > after_ms else 0)
