"""Parses the JSON bodies of commands to the admin side; a refusal if one is unclear."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from server.base.refusal import Refusal, refuse
from server.observe.event_query import BadQuery, time_of
from server.observe.replays import replay_query
from storage.frozen import frozen
from storage.read.dead import DeadFilter, DeadQuery
from storage.read.query import EventQuery

EVENT_IDS_MAX = 2500
"""In one request, since each is looked up. As many as a batch may hold."""

ERROR_CHARACTERS_MAX = 1000
"""Of a text that errors are searched for: none of them has more."""

LIMIT_MAX = 10**9

DEAD_WORDS = 'send {"source":…,"event_ids":[…]}, or {"source":…,"all":true} and, for some of them, since, error, limit'


@frozen
class DeadCommand:
    """Which dead events of which source a command is about."""

    source_id: str
    wanted: DeadQuery


def dead_command(body: bytes, now_ms: int) -> DeadCommand | Refusal:
    """Return what `{"source","event_ids":[…]}` or `{"source","all":true,"since","error","limit"}` is about, of which
    the last three may be left out."""
    match _parsed(body):
        case Refusal() as refusal:
            return refusal
        case {"source": str(source_id), "event_ids": list(event_ids), **rest} if not rest:
            return _event_ids(event_ids) or DeadCommand(source_id, DeadQuery(event_ids))
        case {"source": str(source_id), "all": True, **rest} if rest.keys() <= {"since", "error", "limit"}:
            wanted = _some(rest, now_ms)
            return wanted if isinstance(wanted, Refusal) else DeadCommand(source_id, wanted)
    return refuse("invalid_request", DEAD_WORDS)


def _some(given: Mapping[Any, Any], now_ms: int) -> DeadQuery | Refusal:
    since, error, limit = given.get("since"), given.get("error"), given.get("limit")
    if error is not None and not (isinstance(error, str) and 0 < len(error) <= ERROR_CHARACTERS_MAX):
        return refuse("invalid_request", f"error is a text of 1 to {ERROR_CHARACTERS_MAX} characters")
    if limit is not None and (type(limit) is not int or not 1 <= limit <= LIMIT_MAX):
        return refuse("invalid_request", f"limit is a number from 1 to {LIMIT_MAX}")
    if since is not None and not isinstance(since, str):
        return refuse("invalid_request", "since is a time, as 2026-07-01T12:00:00Z, or how long ago, as 24h")
    try:
        since_ms = 0 if since is None else time_of(since, now_ms)
    except BadQuery as bad:
        return refuse("invalid_request", f"since: {bad}")
    return DeadQuery(None, DeadFilter(since_ms, error or ""), limit)


@frozen
class ForgetCommand:
    """Which events of which source are to be forgotten."""

    source_id: str
    event_ids: Sequence[str]
    pending: bool
    wait: bool


FORGET_WORDS = 'send {"source":…,"event_ids":[…]} and, if they are meant, "pending":true and "wait":false'


def forget_command(body: bytes) -> ForgetCommand | Refusal:
    """Return what `{"source","event_ids":[…],"pending","wait"}` is about, of which the last two may be left out."""
    match _parsed(body):
        case Refusal() as refusal:
            return refusal
        case {"source": str(source_id), "event_ids": list(event_ids), **rest} if rest.keys() <= {"pending", "wait"}:
            pending, wait = rest.get("pending", False), rest.get("wait", True)
            if isinstance(pending, bool) and isinstance(wait, bool):
                return _event_ids(event_ids) or ForgetCommand(source_id, event_ids, pending, wait)
    return refuse("invalid_request", FORGET_WORDS)


def _event_ids(found: Sequence[object]) -> Refusal | None:
    """Return what is wrong with the ids of a command, if anything."""
    if not all(isinstance(each, str) for each in found):
        return refuse("invalid_request", "event_ids must be strings")
    if len(found) > EVENT_IDS_MAX:
        return refuse("too_large", f"at most {EVENT_IDS_MAX} event_ids in one request")
    return None


@frozen
class ReplayCommand:
    """Which events are to be replayed, and to which source."""

    query: EventQuery
    to: str
    is_dry_run: bool


REPLAY_WORDS = (
    'send {"source":…} and any of to, since, until, outcome, type, event_id, id, provider_id, where, limit, dry_run; '
    'or {"stop":…}'
)
_TEXTS = {name: name for name in ("since", "until", "outcome", "event_id", "provider_id")}
_TEXTS |= {"type": "event_type", "id": "id_prefix"}
"""The filters of a replay that are a text, and what they are called in a query."""


@frozen
class StopCommand:
    """Which replay is to be stopped."""

    replay: str


def replay_command(body: bytes, now_ms: int) -> ReplayCommand | StopCommand | Refusal:
    """Return what is to be replayed, or which replay is to be stopped."""
    match _parsed(body):
        case Refusal() as refusal:
            return refusal
        case {"stop": str(identity), **rest} if not rest:
            return StopCommand(identity)
        case {"source": str(source_id), **rest}:
            return _replay(source_id, rest, now_ms)
    return refuse("invalid_request", REPLAY_WORDS)


def _replay(source_id: str, given: Mapping[Any, Any], now_ms: int) -> ReplayCommand | Refusal:
    rest = dict(given)
    to, is_dry_run, where = rest.pop("to", source_id), rest.pop("dry_run", False), rest.pop("where", [])
    limit = rest.pop("limit", None)
    is_limit = limit is None or (type(limit) is int and 1 <= limit <= LIMIT_MAX)
    are_texts = rest.keys() <= _TEXTS.keys() and all(isinstance(each, str) for each in rest.values())
    is_where = isinstance(where, list) and all(isinstance(each, str) for each in where)
    if not (are_texts and is_where and is_limit and isinstance(to, str) and isinstance(is_dry_run, bool)):
        return refuse("invalid_request", REPLAY_WORDS)
    asked = {_TEXTS[name]: value for name, value in rest.items()}
    try:
        query = replay_query(now_ms, source=source_id, where=where, limit=limit, **asked)
    except BadQuery as bad:
        return refuse("invalid_request", str(bad))
    return ReplayCommand(query, to, is_dry_run)


def source_command(body: bytes) -> str | Refusal:
    """Return the source in `{"source":…}`."""
    match _parsed(body):
        case Refusal() as refusal:
            return refusal
        case {"source": str(source_id), **rest} if not rest:
            return source_id
    return refuse("invalid_request", 'send {"source":…}')


def trust_clock_command(body: bytes) -> bool | Refusal:
    """Return whether it is a dry run, from `{"dry_run":…}`."""
    match _parsed(body):
        case Refusal() as refusal:
            return refusal
        case {"dry_run": bool(dry_run), **rest} if not rest:
            return dry_run
    return refuse("invalid_request", 'send {"dry_run":true} or {"dry_run":false}')


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return refuse("invalid_json", f"the body is not JSON: {error}")
