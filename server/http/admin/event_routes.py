"""`/events` and `/tail`: what there is, page by page, and what comes, as it comes.

A follower is woken when something was committed, reads what has come since its number, and sends that; so one that is
slow has no queue that could grow, and one that does not read is disconnected.
"""

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace

import trio
from quart import Response
from quart_trio import QuartTrio

from server.base.json_text import json_text
from server.base.refusal import Refusal, refuse
from server.http.admin import params
from server.http.admin.finding import Finding
from server.http.admin.view import IsSource, Refused, check_source, query_string, scope, unwrap
from server.http.answer import Answer
from server.http.asgi.body import HAS_LEFT
from server.http.asgi.routes import response
from server.http.head import Fields
from server.http.operation import Content, Parameter, json_of, operation
from server.observe.event_query import BadQuery, number_of, query_of
from server.observe.json_schema import COUNT, TEXT, one_of
from storage.errors import StoreError
from storage.read.query import EventQuery
from storage.read.scan import PAGE_EVENTS_MAX

EVENTS_SHOWN = 100
"""In an answer, if nobody says how many."""
FOLLOWERS_MAX = 16
"""At a time: each reads all that comes."""
FOLLOW_SECONDS = 0.2
"""Between two looks of a follower at what has come: what came together is read together."""
HEARTBEAT_SECONDS = 15.0
"""Between two signs of life while nothing is to be told."""
LEFT_SECONDS = 1.0
"""So soon is it noticed that a follower has left, whose place another one may want."""

_FILTERS = ("source", "type", "id", "event_id", "provider_id", "where", "payload", "after")
_LISTED = (*_FILTERS, "since", "until", "outcome", "before", "order", "limit", "format")
_REPEATED = ("where",)
AFTER = Parameter("after", "Of greater numbers.", COUNT)
LIMIT = Parameter("limit", "How many.", {"type": "integer", "minimum": 1, "maximum": PAGE_EVENTS_MAX})
NEXT = {"Tidegate-Next": TEXT}
"""With JSON lines, if there is more: what to put into the same query for the next page."""
CONDITIONS = (
    Parameter("source", "Of this source.", TEXT),
    Parameter("type", "Of this event_type.", TEXT),
    Parameter("id", "Whose id begins so.", TEXT),
    Parameter("event_id", "Of this whole id.", TEXT),
    Parameter("provider_id", "Of this whole id of its provider.", TEXT),
    Parameter("where", "PATH=VALUE: which have this value there; may come several times.", TEXT),
    Parameter("payload", "Whether payloads are shown.", one_of("false", "true")),
    AFTER,
)
LIST_OPTIONS = (
    Parameter("since", "Received from then on: RFC 3339, a day, or how long ago, as 24h.", TEXT),
    Parameter("until", "Received before: the same.", TEXT),
    Parameter("outcome", "Of these outcomes, or pending or deferred; with commas.", TEXT),
    Parameter("before", "Of smaller numbers.", COUNT),
    Parameter("order", "Which come first.", one_of("newest", "oldest")),
    LIMIT,
    Parameter("format", "JSON, or JSON lines.", one_of("json", "ndjson")),
)
"""What the two routes take, as the document says it."""
FORMATS = ("json", "ndjson")
NO_OR_YES = ("false", "true")


def add_events(app: QuartTrio, finding: Finding, is_source: IsSource) -> None:
    """Add both routes."""

    @operation(
        "Events by what is asked for, a page of them; `next` says where to go on.",
        {200: [json_of("EventPage"), Content("application/x-ndjson", TEXT)]},
        ["not_found"],
        query=[*CONDITIONS, *LIST_OPTIONS],
        headers=NEXT,
    )
    async def list_events() -> Response:
        given = unwrap(_given(_LISTED))
        form = unwrap(_choice(given, "format", FORMATS))
        payloads = unwrap(_choice(given, "payload", NO_OR_YES)) == "true"
        shown = unwrap(params.limit(query_string(), PAGE_EVENTS_MAX)) if "limit" in given else EVENTS_SHOWN
        query = unwrap(_described(given, finding.now_ms()))
        check_source(query.source_id, is_source)
        found = await finding.find(query, shown, payloads=payloads)
        return response(_answer(*found, form))

    @operation(
        "Events as they come, for as long as the connection is there; with Last-Event-ID, those since that one.",
        {200: Content("text/event-stream", TEXT)},
        ["not_found"],
        query=CONDITIONS,
    )
    async def tail() -> Response:
        given = unwrap(_given(_FILTERS))
        payloads = unwrap(_choice(given, "payload", NO_OR_YES)) == "true"
        query = unwrap(_followed(given, finding))
        check_source(query.source_id, is_source)
        if finding.recent.followers >= FOLLOWERS_MAX:
            raise Refused(refuse("overloaded", f"{FOLLOWERS_MAX} follow already"))
        headers = {"content-type": "text/event-stream", "cache-control": "no-store"}
        if scope()["method"] == "HEAD":
            return Response(b"", 200, headers)
        return Response(_follow(finding, query, scope()[HAS_LEFT], payloads=payloads), 200, headers)

    app.add_url_rule("/events", view_func=list_events, methods=["GET"])
    app.add_url_rule("/tail", view_func=tail, methods=["GET"])


def _given(names: Sequence[str]) -> Mapping[str, Sequence[str]] | Refusal:
    """Return what the query of the request says."""
    found = params.values(query_string(), names)
    if isinstance(found, Refusal):
        return found
    twice = next((name for name, values in found.items() if len(values) > 1 and name not in _REPEATED), None)
    if twice is not None:
        return refuse("invalid_request", f"{twice} is there twice")
    return found


def _choice(given: Mapping[str, Sequence[str]], name: str, choices: Sequence[str]) -> str | Refusal:
    (found,) = given.get(name, choices[:1])
    return found if found in choices else refuse("invalid_request", f"{name} is one of {', '.join(choices)}")


def _described(given: Mapping[str, Sequence[str]], now_ms: int) -> EventQuery | Refusal:
    order = _choice(given, "order", ("newest", "oldest"))
    if isinstance(order, Refusal):
        return order
    one = {name: values[0] for name, values in given.items()}
    try:
        return query_of(
            now_ms,
            source=one.get("source"),
            since=one.get("since"),
            until=one.get("until"),
            outcome=one.get("outcome"),
            event_type=one.get("type"),
            event_id=one.get("event_id"),
            id_prefix=one.get("id"),
            provider_id=one.get("provider_id"),
            where=given.get("where", ()),
            after=number_of(one.get("after", "0")),
            before=number_of(one["before"]) if "before" in one else None,
            oldest_first=order == "oldest",
        )
    except BadQuery as error:
        return refuse("invalid_request", str(error))


def _answer(texts: Sequence[bytes], query: EventQuery | None, looked: int, form: str) -> Answer:
    following = None if query is None else {"after": query.after} if query.oldest_first else {"before": query.before}
    if form == "json":
        rest = json_text({"next": following, "looked_at": looked})
        return Answer(200, b'{"events":[%b],%b' % (b",".join(texts), rest[1:]))
    lines = b"".join(b"%b\n" % text for text in texts)
    return Answer(200, lines, headers=((b"content-type", b"application/x-ndjson"), *next_header(following)))


def next_header(following: Mapping[str, int | None] | None) -> Sequence[tuple[bytes, bytes]]:
    """Return the header that says where to go on; none if there is nothing more."""
    return [(b"tidegate-next", b"%b=%d" % (key.encode(), number or 0)) for key, number in (following or {}).items()]


# Following.


def _followed(given: Mapping[str, Sequence[str]], finding: Finding) -> EventQuery | Refusal:
    """Return what a follower asks for: what comes after the number that it names, else from now on."""
    query = _described({"order": ["oldest"]} | dict(given), finding.now_ms())
    last = b",".join(Fields(scope()["headers"]).all(b"last-event-id"))
    if isinstance(query, Refusal):
        return query
    end = finding.end()
    try:
        after = number_of(last.decode("latin-1")) if last else query.after if "after" in given else end - 1
    except BadQuery as error:
        return refuse("invalid_request", f"Last-Event-ID: {error}")
    if after >= end:
        words = f"the last event has the number {end - 1}: {after} is of another store, or of a later state of this one"
        return refuse("invalid_request", words)
    return replace(query, after=after)


async def _follow(
    finding: Finding, query: EventQuery, has_left: Callable[[], bool], *, payloads: bool
) -> AsyncIterator[bytes]:
    """Yield what comes, each event with its number as its id, and a sign of life now and then, until the client has
    left."""
    try:
        with finding.recent.following():
            told = -math.inf
            while not has_left():
                if trio.current_time() - told >= HEARTBEAT_SECONDS:
                    yield _sign_of_life(query.after)
                    told = trio.current_time()
                with trio.move_on_after(LEFT_SECONDS) as quiet:
                    while finding.end() <= query.after + 1:
                        await finding.committed()
                if quiet.cancelled_caught:
                    continue
                end = finding.end()
                texts, query = await finding.follow_on(query, end, payloads=payloads)
                yield b"".join(texts) or _sign_of_life(query.after)
                told = trio.current_time()
                if query.after == end - 1:
                    await trio.sleep(FOLLOW_SECONDS)
    except StoreError as error:  # nothing else can be answered any more
        yield b"event: error\ndata: %b\n\n" % json_text({"code": "storage_failed", "message": str(error)})


def _sign_of_life(number: int) -> bytes:
    """Return an event without data, which tells the follower its number and is otherwise passed over."""
    return b": nothing new\nid: %d\n\n" % number
