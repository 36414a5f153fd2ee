"""What people and programs write to say which events they look for: texts in, an `EventQuery` out. No I/O, no clock."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import orjson

from server.base.clock import WALL_MS_MAX
from storage.read.query import EventQuery, Where
from storage.statuses import PENDING_STATUSES, EventStatus, outcome_of


def _meant_by(named: EventStatus) -> Sequence[EventStatus]:
    """Return the statuses of which somebody says this one."""
    if named is EventStatus.PENDING:
        return PENDING_STATUSES
    return [each for each in EventStatus if outcome_of(each) is named] or (named,)


OUTCOMES: Mapping[str, Sequence[EventStatus]] = {status.label: _meant_by(status) for status in EventStatus}
"""By what is written: which events are meant. `pending` are all without an outcome, the deferred ones too; `dead` are
the discarded ones too, which have a word of their own beside that."""

EVENT_FIELDS = (
    "inbound_event_id",
    "source_config_id",
    "source_type",
    "provider_event_id",
    "event_type",
    "received_at",
    "payload",
    "headers",
    "meta",
)
"""Where a path through a normalised event begins."""

_DAYS_AGO = {"today": 0, "yesterday": 1}
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"([0-9]{1,9})([smhdw])")
_LEAP_SECOND = re.compile(r"(.{10}.[0-9]{2}:[0-9]{2}):60(?:[.,][0-9]+)?((?:[zZ+-].*)?)")
_FINER_THAN_US = re.compile(r"[.,][0-9]{6}[0-9]*[1-9]")
_EPOCH, _MS = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_NO_ESCAPE = re.compile(r"~(?![01])")
_NUMBER = re.compile(r"[0-9]{1,18}")


class BadQuery(ValueError):
    """What was written cannot be understood. The message names it, and says what could stand there."""


def time_of(text: str, now_ms: int) -> int:
    """Return a time in ms since the epoch: RFC 3339, in UTC if it names no offset; a day, from its first moment in UTC;
    or how long ago, as `24h`. What lies between two ms is the later: what has the earlier was before. Raises BadQuery.
    """
    if text in _DAYS_AGO:
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        text = f"{now - timedelta(days=_DAYS_AGO[text]):%Y-%m-%d}"
    ago = _AGO.fullmatch(text)
    if ago:
        return max(0, now_ms - 1000 * int(ago[1]) * _UNIT_SECONDS[ago[2]])
    try:
        at_ms = _written(text.strip())
    except ValueError:
        words = "neither a time, as 2026-07-01T12:00:00Z, nor a day, as 2026-07-01 or yesterday"
        words += ", nor how long ago, as 30s, 5m, 24h, 7d"
        raise BadQuery(f"{text!r} is {words}") from None
    return min(max(0, at_ms), WALL_MS_MAX)


def _written(text: str) -> int:
    """Return a written time, rounded up. A leap second is the first moment of the next minute. Raises ValueError."""
    leap = _LEAP_SECOND.fullmatch(text)
    if leap:
        return _written(f"{leap[1]}:00{leap[2]}") + 60_000
    found = datetime.fromisoformat(f"{text[:-1]}Z" if text.endswith("z") else text)
    since = (found if found.tzinfo else found.replace(tzinfo=UTC)) - _EPOCH
    if _FINER_THAN_US.search(text):  # which it has cut off
        since += timedelta(microseconds=1)
    return -(-since // _MS)


def statuses_of(text: str) -> Sequence[EventStatus]:
    """Return which events are meant by an outcome, or several that commas separate. Raises BadQuery."""
    names = [name.strip() for name in text.split(",")]
    if not all(name in OUTCOMES for name in names):
        raise BadQuery(f"{text!r} is not an outcome: {', '.join(OUTCOMES)}, or some of them with commas between")
    return sorted({status for name in names for status in OUTCOMES[name]})


def where_of(text: str) -> Where:
    """Return what `PATH=VALUE` asks for. Raises BadQuery.

    PATH is dotted, or a JSON pointer (RFC 6901) if it begins with a slash. VALUE matches the string of these
    characters, and the number, true, false or null that it is as JSON; in double quotes the string alone.
    """
    path, equals, value = text.partition("=")
    is_pointer = path.startswith("/")
    keys = _pointer(path) if is_pointer else path.split(".")
    if not equals or not (is_pointer or all(keys)):
        raise BadQuery(f"{text!r} is not PATH=VALUE, as payload.order.id=1001 or /payload/order/id=1001")
    if keys[0] not in EVENT_FIELDS:
        raise BadQuery(f"{text!r} matches no event: a path begins with one of {', '.join(EVENT_FIELDS)}{_meant(path)}")
    try:
        scalar = orjson.loads(value)
    except orjson.JSONDecodeError:
        return Where(keys, (value,))
    if isinstance(scalar, str):
        return Where(keys, (scalar,))
    return Where(keys, (value,) if isinstance(scalar, list | dict) else (value, scalar))


def _meant(path: str) -> str:
    other = f"/payload{path}" if path.startswith("/") else f"payload.{path}"
    return f"; of what was sent, that is {other}"


def _pointer(path: str) -> list[str]:
    if _NO_ESCAPE.search(path):
        raise BadQuery(f"{path!r} is not a JSON pointer: in one ~0 stands for ~ and ~1 for /")
    return [key.replace("~1", "/").replace("~0", "~") for key in path[1:].split("/")]


def path_text(path: Sequence[str]) -> str:
    """Return a path as `where_of` reads it."""
    if any("." in key or not key for key in path) or path[0].startswith("/"):
        return "".join(f"/{key.replace('~', '~0').replace('/', '~1')}" for key in path)
    return ".".join(path)


def number_of(text: str) -> int:
    """Return the number of an event. Raises BadQuery."""
    if not _NUMBER.fullmatch(text):
        raise BadQuery(f"{text!r} is not the number of an event")
    return int(text)


def query_of(
    now_ms: int,
    *,
    source: str | None = None,
    since: str | None = None,
    until: str | None = None,
    outcome: str | None = None,
    event_type: str | None = None,
    event_id: str | None = None,
    id_prefix: str | None = None,
    provider_id: str | None = None,
    where: Sequence[str] = (),
    after: int | None = None,
    before: int | None = None,
    oldest_first: bool = False,
    limit: int | None = None,
) -> EventQuery:
    """Return the query that these texts describe. Raises BadQuery."""
    since_ms = None if since is None else time_of(since, now_ms)
    until_ms = None if until is None else time_of(until, now_ms)
    if since_ms is not None and until_ms is not None and until_ms <= since_ms:
        raise BadQuery(f"there is no time between: until {until!r} is not later than since {since!r}")
    return EventQuery(
        source_id=source,
        since_ms=since_ms,
        until_ms=until_ms,
        statuses=() if outcome is None else statuses_of(outcome),
        event_type=event_type,
        event_id=event_id,
        id_prefix=id_prefix,
        provider_id=provider_id,
        where=[where_of(each) for each in where],
        after=after or 0,
        before=before,
        oldest_first=oldest_first,
        limit=limit,
    )
