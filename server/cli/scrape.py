"""What a running server says of itself at one moment, on its admin side; or what its store alone tells."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson

from server.base.clock import wall_ms
from server.base.printable import one_line
from server.cli.client import AdminClient, NoAnswer
from storage.frozen import frozen
from storage.read.reader import Reader

FIRST_ANSWER_SECONDS = 5
"""The longest that connecting and the first answer, which costs next to nothing, may take before the server hangs."""

ANSWER_SECONDS = 30
"""The longest that another answer may take: a thousand sources are much to say for a server that has much to do."""

COUNTED = ("received", "processed", "duplicate", "dropped", "dead", "replayed")
"""What of the totals of a source goes on, and has a rate."""

WANTED = frozenset(
    {
        "tidegate_build_info",
        "tidegate_commit_seconds_count",
        "tidegate_commit_seconds_sum",
        "tidegate_journal_seconds_count",
        "tidegate_journal_seconds_sum",
        "tidegate_oldest_pending_seconds",
        "tidegate_source_refused_total",
        "tidegate_source_silent",
        "tidegate_store_map_bytes",
        "tidegate_store_used_bytes",
    }
)
"""The metrics that are read; of a thousand sources all others are most of the text."""

_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")

Samples = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""The values of each metric, with their labels."""


@frozen
class Trouble:
    """Something that is wrong: its name, and words for people."""

    name: str
    message: str
    keeps_out: bool = False
    """No delivery can be taken because of it."""


@frozen
class Failures:
    """Those of a processor since the start."""

    count: int
    last: str
    last_ms: int


@frozen
class SourceScrape:
    """One source."""

    id: str
    totals: Mapping[str, int]
    pending: int
    deferred: int
    dead: int
    oldest_seconds: float | None
    """The age of its oldest pending event; None if there is none, or that would take long to find."""
    marks: tuple[str, ...] = ()
    """What is unusual about it: `paused`, `silent`, `waits on disk`, `not configured`."""
    limit: str = ""
    processor: str | None = None
    failures: Failures | None = None
    refused: Mapping[str, int] | None = None
    """Refused requests since the start, by code. None: only the server knows."""


@frozen
class Writes:
    """How many there were since the start, and how long they took together."""

    count: float
    seconds: float


@frozen
class StoreScrape:
    """How full the store is, and how long it lasts."""

    used_bytes: int
    map_bytes: int
    basis: str | None
    """At what rate: `measured`, `configured`; None if how long it lasts is not known."""
    days_left: float | None
    """None if it is never full."""
    full_at: str | None


@frozen
class Scrape:
    """All that was found out at one moment."""

    at_seconds: float
    """By a clock that only goes on."""
    at_ms: int
    ready: bool | None
    """None if no server was asked."""
    troubles: tuple[Trouble, ...]
    sources: tuple[SourceScrape, ...] = ()
    version: str = ""
    journal: Writes | None = None
    commits: Writes | None = None
    store: StoreScrape | None = None


def scrape(client: AdminClient) -> Scrape:
    """Ask the server, whose first answer may take as long as the client says. Raises NoAnswer. What the server refuses
    to say is among the troubles."""
    try:
        return _scrape(client)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise NoAnswer(f"what answers is not a Tidegate of this version ({type(error).__name__}: {error})") from error
    finally:
        client.close()


def of_store(reader: Reader, trouble: Trouble) -> Scrape:
    """Return what the store tells without a server."""
    now_ms = wall_ms()
    found = []
    for source_id, each in sorted(reader.totals().items()):
        totals, oldest_seconds = asdict(each), None
        if each.pending:
            at_ms = reader.received_at(source_id, each.oldest)
            oldest_seconds = None if at_ms is None else max(0, now_ms - at_ms) / 1000
        found.append(SourceScrape(source_id, totals, each.pending, each.deferred_now, each.dead_now, oldest_seconds))
    return Scrape(time.monotonic(), now_ms, None, (trouble,), tuple(found))


def samples(text: str) -> Samples:
    """Return those WANTED of a text in Prometheus' format. Raises ValueError."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for line in text.splitlines():
        matched = _SAMPLE.fullmatch(line)
        if matched is not None and matched[1] in WANTED:
            labels = {name: _ESCAPED.sub(_plain, value) for name, value in _LABEL.findall(matched[2] or "")}
            found.setdefault(matched[1], []).append((labels, float(matched[3])))
    return found


def _plain(escaped: re.Match[str]) -> str:
    return "\n" if escaped[1] == "n" else escaped[1]


def _scrape(client: AdminClient) -> Scrape:
    status, text = client.fetch("/readyz")
    readiness = orjson.loads(text)
    troubles = [Trouble(each["reason"], each["message"], keeps_out=True) for each in readiness["reasons"]]
    troubles += [Trouble(each["warning"], each["message"]) for each in readiness["warnings"]]
    answers = []
    for path in ("/metrics", "/sources"):
        code, text = client.fetch(path, ANSWER_SECONDS)
        if code != 200:
            words = f"GET {path} is answered with {code} {_message(text)}"
            troubles.append(Trouble("refused", words))
            return Scrape(time.monotonic(), wall_ms(), status == 200, tuple(troubles))
        answers.append(text)
    at_seconds, values = time.monotonic(), samples(answers[0].decode())
    told = orjson.loads(answers[1])
    return Scrape(
        at_seconds,
        wall_ms(),
        status == 200,
        tuple(troubles),
        _sources(told["sources"], values),
        values["tidegate_build_info"][0][0]["version"],
        _writes(values, "journal"),
        _writes(values, "commit"),
        _store(told["capacity"], values),
    )


def _message(text: bytes) -> str:
    try:
        return str(orjson.loads(text)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""


def _writes(values: Samples, name: str) -> Writes:
    (_, count), (_, seconds) = (values[f"tidegate_{name}_seconds_{each}"][0] for each in ("count", "sum"))
    return Writes(count, seconds)


def _store(capacity: Mapping[str, Any], values: Samples) -> StoreScrape:
    basis = next((name for name in ("measured", "configured") if capacity.get(name)), None)
    found = capacity[basis] if basis else {"days_left": None, "full_at": None}
    (_, used), (_, most) = values["tidegate_store_used_bytes"][0], values["tidegate_store_map_bytes"][0]
    return StoreScrape(int(used), int(most), basis, found["days_left"], found["full_at"])


def _sources(told: Sequence[Mapping[str, Any]], values: Samples) -> tuple[SourceScrape, ...]:
    oldest = {labels["source"]: value for labels, value in values.get("tidegate_oldest_pending_seconds", ())}
    silent = {labels["source"] for labels, value in values.get("tidegate_source_silent", ()) if value}
    refused: dict[str, dict[str, int]] = {}
    for labels, value in values.get("tidegate_source_refused_total", ()):
        if value:
            refused.setdefault(labels["source"], {})[labels["code"]] = int(value)
    return tuple(
        SourceScrape(
            each["id"],
            each["totals"],
            each["pending"],
            each["deferred"],
            each["dead"],
            oldest.get(each["id"]) if each["pending"] else None,
            _marks(each, is_silent=each["id"] in silent),
            _limit(each.get("limits", {})),
            each.get("processor"),
            _failures(each["since_start"]),
            refused.get(each["id"], {}),
        )
        for each in told
    )


def _marks(told: Mapping[str, Any], *, is_silent: bool) -> tuple[str, ...]:
    marks = {
        "paused": told["paused"],
        "silent": is_silent,
        "waits on disk": told["behind"],
        "not configured": not told["configured"],
    }
    return tuple(name for name, holds in marks.items() if holds)


def _limit(limits: Mapping[str, Any]) -> str:
    rate = limits.get("rate_limit_events_per_second")
    return f"{rate:g}/s {limits['over_limit']}" if rate else ""


def _failures(since_start: Mapping[str, Any]) -> Failures | None:
    error = since_start["last_error"]
    if error is None:
        return None
    at = datetime.fromisoformat(since_start["last_error_at"])
    return Failures(since_start["processor_failures"], one_line(error), int(at.timestamp() * 1000))
