"""What `status` and `top` show: what was found out at two moments, the rates between them, and what is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from server.cli.scrape import COUNTED, Scrape, SourceScrape, Trouble, Writes
from server.intake.events import rfc3339
from storage.frozen import frozen


@frozen
class Overview:
    """Two scrapes of one server, between which there are rates; and why the last one failed, if it did."""

    now: Scrape | None = None
    before: Scrape | None = None
    problem: str = ""

    def followed_by(self, found: Scrape) -> "Overview":
        return Overview(found, None if self.problem else self.now)

    def without_answer(self, problem: str) -> "Overview":
        """What was found last stays, without rates."""
        return Overview(self.now, None, problem)


def wrong(found: Scrape, *, allow_dead: bool) -> list[Trouble]:
    """Return all that is wrong: why nothing can be taken, every warning, and dead events unless they are allowed."""
    dead = [] if allow_dead else [each for each in found.sources if each.dead]
    return [*found.troubles, *(Trouble("dead", _dead_words(each)) for each in dead)]


def _dead_words(source: SourceScrape) -> str:
    events = "event" if source.dead == 1 else "events"
    return f"source {source.id}: {source.dead:,} dead {events}: tidegate dead {source.id}"


def source_rates(overview: Overview) -> dict[str, dict[str, float | None]]:
    """Return how much each counter of each source went on, a second; None where that is not known."""
    now, before = overview.now, overview.before
    assert now is not None
    known = {} if before is None else {each.id: each.totals for each in before.sources}
    seconds = 0.0 if before is None else now.at_seconds - before.at_seconds
    return {
        each.id: {name: _went_on(known.get(each.id, {}).get(name), each.totals[name], seconds) for name in COUNTED}
        for each in now.sources
    }


def total_rates(overview: Overview) -> dict[str, float | None]:
    """Return the sums of `source_rates`."""
    rates = source_rates(overview).values()
    known = {name: [found for each in rates if (found := each[name]) is not None] for name in COUNTED}
    return {name: sum(found) if found else None for name, found in known.items()}


def _went_on(before: int | None, now: int, seconds: float) -> float | None:
    """Return the rate; None if the counter is new, or began anew."""
    return None if before is None or seconds <= 0 or now < before else (now - before) / seconds


def writes(overview: Overview) -> tuple[float | None, float | None]:
    """Return how long a write of the journal and a commit took on average, in seconds; since the start where none was
    made meanwhile, None where none was made at all."""
    now, before = overview.now, overview.before
    assert now is not None
    return _mean(before.journal if before else None, now.journal), _mean(
        before.commits if before else None, now.commits
    )


def _mean(before: Writes | None, now: Writes | None) -> float | None:
    if now is None:
        return None
    if before is not None and now.count > before.count:
        return (now.seconds - before.seconds) / (now.count - before.count)
    return now.seconds / now.count if now.count else None


def oldest(sources: Sequence[SourceScrape]) -> float | None:
    """Return the age of the oldest pending event of all, in seconds; None if none is known."""
    return max((each.oldest_seconds for each in sources if each.oldest_seconds is not None), default=None)


# As JSON.


def described(overview: Overview, troubles: Sequence[Trouble]) -> dict[str, object]:
    """Return all of it for programs."""
    now = overview.now
    assert now is not None
    rates = source_rates(overview)
    journal, commit = writes(overview)
    return {
        "ok": not troubles,
        "server": "no answer" if now.ready is None else "ready" if now.ready else "not ready",
        "version": now.version or None,
        "at": rfc3339(now.at_ms),
        "wrong": [{"name": each.name, "message": each.message} for each in troubles],
        "pending": sum(each.pending for each in now.sources),
        "deferred": sum(each.deferred for each in now.sources),
        "oldest_pending_seconds": oldest(now.sources),
        "dead": sum(each.dead for each in now.sources),
        "per_second": None if now.ready is None else total_rates(overview),
        "journal_seconds": journal,
        "commit_seconds": commit,
        "store": None if now.store is None else asdict(now.store),
        "sources": [_described(each, rates[each.id], server=now.ready is not None) for each in now.sources],
    }


def _described(source: SourceScrape, rates: Mapping[str, float | None], *, server: bool) -> dict[str, object]:
    found: dict[str, object] = {
        "id": source.id,
        "totals": {name: source.totals[name] for name in COUNTED},
        "pending": source.pending,
        "deferred": source.deferred,
        "oldest_pending_seconds": source.oldest_seconds,
        "dead": source.dead,
    }
    if not server:
        return found
    failures = source.failures
    return found | {
        "per_second": rates,
        "refused": source.refused,
        "limit": source.limit or None,
        "marks": source.marks,
        "processor": source.processor,
        "processor_failures": failures.count if failures else 0,
        "last_error": failures.last if failures else None,
        "last_error_at": rfc3339(failures.last_ms) if failures else None,
    }
