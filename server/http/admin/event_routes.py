"""`/events` and `/tail`: what there is, page by page, and what comes, as it comes.

Both read the store by number in threads of their own, a bounded piece at a time: they take nothing from what is on its
way into it. A follower is woken when something was committed, reads what has come since its number, and sends that; so
one that is slow has no queue that could grow, and one that does not read is disconnected. Who keeps up finds the last
deliveries in memory: what became of them is read, and not their records.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import trio
from quart import Response
from quart_trio import QuartTrio

from server.base.aside import give_way
from server.base.json_text import json_text
from server.base.pace import Pace
from server.base.refusal import Refusal, refuse
from server.base.worker import Worker
from server.http.admin import params
from server.http.admin.view import Refused, query_string, scope, unwrap
from server.http.answer import Answer
from server.http.asgi.routes import response
from server.http.head import Fields
from server.http.operation import Content, Parameter, json_of, operation
from server.observe.event_query import BadQuery, number_of, query_of
from server.observe.events import as_lines, page_of
from server.observe.json_schema import COUNT, TEXT, one_of
from server.observe.receipts import Value
from storage.codec.log_record import split_log
from storage.errors import StoreError
from storage.read.query import EventQuery
from storage.read.reader import Reader
from storage.read.recent import Recent
from storage.read.scan import PAGE_EVENTS_MAX

LOOKS_MAX = 100_000
"""Events looked at for one request, if what it asks for is rare: it says where to go on."""
LOOKS_AT_ONCE = 5_000
"""Of these, in one step."""
FIND_RESTS, FIND_IDLE_SECONDS_MAX = 1, 0.02
"""A rest is as long as what it follows: so scans take no more than half of a core from what serves deliveries. Somebody
waits for the answer, so a step waits no longer than this for deliveries."""
TAIL_RESTS, TAIL_IDLE_SECONDS_MAX = 4, 0.1
"""All followers together take a fifth of a core, and less while deliveries never rest."""
REST_SECONDS_MAX = 1.0
TAIL_EVENTS_AT_ONCE, TAIL_LOOKS_AT_ONCE = 100, 500
"""In one step: mostly some milliseconds. Fewer cost more each, since nothing of theirs is in the caches after a rest:
with twenty at once an event took twice the CPU."""
EVENTS_SHOWN = 100
"""In an answer, if nobody says how many."""
FOLLOWERS_MAX = 16
"""At a time: each reads all that comes."""
FOLLOW_SECONDS = 0.2
"""Between two looks of a follower at what has come: what came together is read together."""
HEARTBEAT_SECONDS = 15.0
"""Between two signs of life while nothing is to be told: so soon is it noticed that a follower has gone."""

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


class Finding:
    """What the two routes need. The first reader is used in the worker `find`, the second one in `tail`."""

    def __init__(
        self,
        readers: tuple[Reader, Reader],
        workers: tuple[Worker, Worker],
        now_ms: Callable[[], int],
        *,
        end: Callable[[], int],
        committed: Callable[[], Awaitable[None]],
        recent: Recent,
        idle: Callable[[], Awaitable[None]],
    ) -> None:
        """`end` tells the number after the last event in the store; `committed` returns when it may have changed,
        `idle` when no delivery waits for its answer. `recent`: what came into the store last."""
        self._reader, self._tail_reader = readers
        find, tail = workers
        self._finding = Pace(
            find, idle, idle_seconds_max=FIND_IDLE_SECONDS_MAX, rests=FIND_RESTS, rest_seconds_max=REST_SECONDS_MAX
        )
        self._following = Pace(
            tail, idle, idle_seconds_max=TAIL_IDLE_SECONDS_MAX, rests=TAIL_RESTS, rest_seconds_max=REST_SECONDS_MAX
        )
        self.now_ms = now_ms
        self.end = end
        self.committed = committed
        self.recent = recent

    async def find(
        self, query: EventQuery, events_max: int, *, payloads: bool
    ) -> tuple[list[Value], EventQuery | None, int]:
        """Return what was found, the query to go on with, and how many events were looked at."""
        found: list[Value] = []
        looked = 0
        following: EventQuery | None = query
        while following is not None and len(found) < events_max and looked < LOOKS_MAX:
            left = events_max - len(found)
            values, page = await self._finding.step(
                partial(page_of, self._reader, following, payloads=payloads, events_max=left, looks_max=LOOKS_AT_ONCE)
            )
            found += values
            looked += page.looked
            following = page.following
        return found, following, looked

    async def follow_on(self, query: EventQuery, end: int, *, payloads: bool) -> tuple[list[bytes], EventQuery]:
        """Return the first few events before `end` as followers get them, and the query for what comes after them."""
        forgettings, some = self.recent.forgettings, replace(query, before=end)
        texts, following = await self._following.step(_read_tail, self._tail_reader, some, payloads, self.recent)
        if forgettings != self.recent.forgettings:  # memory may have told what has left meanwhile
            texts, following = await self._following.step(_read_tail, self._tail_reader, some, payloads, Recent())
        return texts, replace(query, after=end - 1 if following is None else following.after)


def add_events(app: QuartTrio, finding: Finding) -> None:
    """Add both routes."""

    @operation(
        "Events by what is asked for, a page of them; `next` says where to go on.",
        {200: [json_of("EventPage"), Content("application/x-ndjson", TEXT)]},
        query=[*CONDITIONS, *LIST_OPTIONS],
        headers=NEXT,
    )
    async def list_events() -> Response:
        given = unwrap(_given(_LISTED))
        form = unwrap(_choice(given, "format", FORMATS))
        payloads = unwrap(_choice(given, "payload", NO_OR_YES)) == "true"
        shown = unwrap(params.limit(query_string(), PAGE_EVENTS_MAX)) if "limit" in given else EVENTS_SHOWN
        query = unwrap(_described(given, finding.now_ms()))
        found = await finding.find(query, shown, payloads=payloads)
        return response(_answer(*found, form))

    @operation(
        "Events as they come, for as long as the connection is there; with Last-Event-ID, those since that one.",
        {200: Content("text/event-stream", TEXT)},
        query=CONDITIONS,
    )
    async def tail() -> Response:
        given = unwrap(_given(_FILTERS))
        payloads = unwrap(_choice(given, "payload", NO_OR_YES)) == "true"
        query = unwrap(_followed(given, finding))
        if finding.recent.followers >= FOLLOWERS_MAX:
            raise Refused(refuse("overloaded", f"{FOLLOWERS_MAX} follow already"))
        return Response(
            _follow(finding, query, payloads=payloads),
            200,
            {"content-type": "text/event-stream", "cache-control": "no-store"},
        )

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


def _answer(values: Sequence[Value], query: EventQuery | None, looked: int, form: str) -> Answer:
    following = None if query is None else {"after": query.after} if query.oldest_first else {"before": query.before}
    if form == "json":
        return Answer(200, json_text({"events": values, "next": following, "looked_at": looked}))
    return Answer(200, as_lines(values), headers=((b"content-type", b"application/x-ndjson"), *next_header(following)))


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
    try:
        if last:
            return replace(query, after=number_of(last.decode("latin-1")))
    except BadQuery as error:
        return refuse("invalid_request", f"Last-Event-ID: {error}")
    return query if "after" in given else replace(query, after=finding.end() - 1)


async def _follow(finding: Finding, query: EventQuery, *, payloads: bool) -> AsyncIterator[bytes]:
    """Yield what comes, each event with its number as its id, and a sign of life now and then."""
    try:
        with finding.recent.following():
            yield _sign_of_life(query.after)
            while True:
                with trio.move_on_after(HEARTBEAT_SECONDS) as quiet:
                    while finding.end() <= query.after + 1:
                        await finding.committed()
                if quiet.cancelled_caught:
                    yield _sign_of_life(query.after)
                    continue
                end = finding.end()
                texts, query = await finding.follow_on(query, end, payloads=payloads)
                yield b"".join(texts) or _sign_of_life(query.after)
                if query.after == end - 1:
                    await trio.sleep(FOLLOW_SECONDS)
    except StoreError as error:  # nothing else can be answered any more
        yield b"event: error\ndata: %b\n\n" % json_text({"code": "storage_failed", "message": str(error)})


def _read_tail(
    reader: Reader, query: EventQuery, payloads: bool, recent: Recent
) -> tuple[list[bytes], EventQuery | None]:
    """In a worker: return a few events as followers get them, and the query for the rest."""
    found, page = page_of(
        reader,
        query,
        payloads=payloads,
        events_max=TAIL_EVENTS_AT_ONCE,
        looks_max=TAIL_LOOKS_AT_ONCE,
        known=list(split_log(recent.since(query.after + 1))),
    )
    return list(map(_as_told, found)), page.following


def _as_told(value: Value) -> bytes:
    give_way()
    return b"id: %b\ndata: %b\n\n" % (str(value["number"]).encode(), json_text(value))


def _sign_of_life(number: int) -> bytes:
    """Return an event without data, which tells the follower its number and is otherwise passed over."""
    return b": nothing new\nid: %d\n\n" % number
