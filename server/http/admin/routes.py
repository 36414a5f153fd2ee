"""The admin listener: health, metrics, sources, look-ups, requeue. Nothing here reads the store on the event loop."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.routing import BaseConverter

from server.base.json_text import json_text
from server.base.refusal import Refusal, refuse
from server.base.worker import Worker
from server.http.admin import guard as admin_guard
from server.http.admin import params
from server.http.admin.event_routes import Finding, add_events
from server.http.admin.page_routes import add_page
from server.http.admin.view import Refused, query_string, scope, unwrap
from server.http.answer import Answer, refusal_answer
from server.http.asgi.body import up_to
from server.http.asgi.routes import add_health, body_reader, quiet_quart, refused_request, response
from server.http.frontend import Observe
from server.http.head import Fields
from server.observe import receipts as lookups
from server.observe.health import Health
from server.observe.metrics import CONTENT_TYPE
from server.observe.refusals import REFUSALS_MAX, describe
from storage.errors import StoreError
from storage.read.reader import Reader
from storage.refusals.records import RefusalRecord

REQUEUE_BODY_BYTES_MAX = 8 * 2**20
"""Room for the largest request: the most ids, of 512 bytes each, escaped."""
TRUST_BODY_BYTES_MAX = 1024
"""Room for the one key, and blanks."""
RECEIPTS_IN_HAND_MAX = 500
"""Receipts of a list that are read and sent at a time."""

WERKZEUG_VARIABLE = re.compile("<(?:[^<>]*:)?([^<>]+)>")
SHOWN_VARIABLE = r"{\1}"
"""A variable part of a route, in werkzeug's notation and as shown to people."""
NO_EVENT = refuse("not_found", "there is no event of this id")
NO_DELIVERY = refuse("not_found", "there is no delivery of this id")
NO_SOURCE = refuse("not_found", "there is no source of this id")

Lookup = Callable[..., Any]


class RequeueReport(Protocol):
    """How many events were requeued, and the ids without a dead event."""

    @property
    def requeued(self) -> int: ...
    @property
    def unknown(self) -> Sequence[str]: ...


Requeue = Callable[[str, Sequence[str] | None], Awaitable[RequeueReport | Refusal]]
"""Requeues a source's dead events with these ids; None: all of them."""
TrustClock = Callable[[bool], Awaitable[dict[str, object] | Refusal]]
"""Believes the wall clock, unless it is a dry run; returns what comes of it."""
RecordOf = Callable[[str, int], Awaitable[Sequence[RefusalRecord]]]
"""Returns the last refused requests of a source, as many as are asked for, the newest first."""
Sources = Callable[[], Sequence[lookups.Value]]
"""Returns every source as `/sources` shows it; the key `id` holds its id."""


def build_admin_app(
    *,
    health: Health,
    metrics: Callable[[], Awaitable[bytes]],
    sources: Sources,
    capacity: Callable[[], lookups.Value],
    requeue: Requeue,
    trust_clock: TrustClock,
    refusals: RecordOf,
    reader: Reader,
    worker: Worker,
    finding: Finding,
    flushed: Callable[[], Awaitable[None]],
    observe: Observe,
    token: Callable[[], bytes],
    body_timeout_seconds: float,
) -> QuartTrio:
    """Return the application of `admin_bind`. `observe` is called for what no view answers.

    `reader` is used, and `capacity` called, in `worker` only. `flushed` returns when all that was acknowledged before
    is in the store; `token` returns the admin token in force.
    """
    app = quiet_quart(body_timeout_seconds, observe)
    app.url_map.converters["event_id"] = EventIdConverter
    _add_guard(app, token, flushed, observe)
    add_health(app, health, observe)
    _add_reports(app, metrics, sources, capacity, worker)
    _add_lookups(app, reader, worker)
    add_events(app, finding)
    _add_refusals(app, refusals, sources)
    _add_requeue(app, requeue, sources, health)
    _add_trust_clock(app, trust_clock, health)
    add_page(app)
    _add_list(app)
    return app


class EventIdConverter(BaseConverter):
    """Matches the rest of the path, slashes included; still percent-encoded."""

    part_isolating = False
    regex = ".+"


def _add_guard(
    app: QuartTrio, token: Callable[[], bytes], flushed: Callable[[], Awaitable[None]], observe: Observe
) -> None:
    async def guard() -> Response | None:
        refusal = admin_guard.check(request.method, request.path, Fields(scope()["headers"]), token())
        if refusal is not None:
            observe(refusal.status, refusal.code, 0.0, refused_request())
            return _refused(refusal)
        if not admin_guard.is_open(request.path):
            await flushed()
        return None

    async def refused(error: Refused) -> Response:
        return _refused(error.refusal)

    async def failed(error: StoreError) -> Response:
        return _refused(refuse("storage_failed", f"the store cannot be read: {error}"))

    app.before_request(guard)
    app.register_error_handler(Refused, refused)
    app.register_error_handler(StoreError, failed)


def _add_reports(
    app: QuartTrio,
    metrics: Callable[[], Awaitable[bytes]],
    sources: Sources,
    capacity: Callable[[], lookups.Value],
    worker: Worker,
) -> None:
    async def show_metrics() -> Response:
        return response(Answer(200, await metrics(), headers=((b"content-type", CONTENT_TYPE.encode()),)))

    async def show_sources() -> Response:
        found = await worker.run(capacity)
        return response(Answer(200, json_text({"sources": sources(), "capacity": found})))

    app.add_url_rule("/metrics", view_func=show_metrics, methods=["GET"])
    app.add_url_rule("/sources", view_func=show_sources, methods=["GET"])


def _add_list(app: QuartTrio) -> None:
    """Add `/routes`, which lists all routes added so far; so it comes last."""
    routes = [
        f"{method} {WERKZEUG_VARIABLE.sub(SHOWN_VARIABLE, rule.rule)}"
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]

    async def show_routes() -> Response:
        return response(Answer(200, json_text(routes)))

    app.add_url_rule("/routes", view_func=show_routes, methods=["GET"])


def _add_lookups(app: QuartTrio, reader: Reader, worker: Worker) -> None:
    async def find(lookup: Lookup, missing: Refusal, *key: str) -> Response:
        try:
            body = await worker.run(_look_up, lookup, reader, *key)
        except lookups.Expired as error:
            raise Refused(refuse("expired", str(error))) from None
        return response(Answer(200, unwrap(missing if body is None else body)))

    async def receipts(source_id: str, event_id: str | None = None) -> Response:
        wants_all = unwrap(params.value(query_string(), "all")) == "true"
        found_id = unwrap(params.event_id(event_id, query_string()))
        if wants_all:
            return await every_receipt(source_id, found_id)
        return await find(lookups.receipt, NO_EVENT, source_id, found_id)

    async def every_receipt(source_id: str, event_id: str) -> Response:
        found = lookups.receipts(reader, source_id, event_id)
        first = unwrap(await worker.run(_receipts, found) or NO_EVENT)  # what fails here is still answered
        return Response(_receipt_list(worker, first, found), 200, {"content-type": "application/json"})

    async def events(source_id: str, event_id: str | None = None) -> Response:
        try:
            return await find(lookups.event, NO_EVENT, source_id, unwrap(params.event_id(event_id, query_string())))
        except lookups.BodyNotKept as error:
            raise Refused(refuse("not_found", str(error))) from None

    async def deliveries(delivery_id: str) -> Response:
        return await find(lookups.delivery, NO_DELIVERY, unwrap(params.decoded(delivery_id.encode("latin-1"))))

    async def dead() -> Response:
        source_id = unwrap(params.value(query_string(), "source"))
        page, after = await worker.run(lookups.dead_page, reader, source_id, 0)  # what fails here is still answered
        lines = _dead_lines(reader, worker, source_id, page, after)
        return Response(lines, 200, {"content-type": "application/x-ndjson"})

    for name, view in (("receipts", receipts), ("events", events)):
        app.add_url_rule(f"/{name}/<source_id:source_id>", name, view, methods=["GET"])
        app.add_url_rule(f"/{name}/<source_id:source_id>/<event_id:event_id>", name, view, methods=["GET"])
    app.add_url_rule("/deliveries/<delivery_id>", view_func=deliveries, methods=["GET"])
    app.add_url_rule("/dead", view_func=dead, methods=["GET"])


def _look_up(lookup: Lookup, reader: Reader, *key: str) -> bytes | None:
    """Return what the look-up finds, as JSON; runs in the worker, since encoding a large event takes time too."""
    value = lookup(reader, *key)
    return None if value is None else json_text(value)


def _receipts(found: Iterator[lookups.Value]) -> bytes:
    """Return the next receipts of a list as JSON, b"" at its end; runs in the worker."""
    return b",\n".join(json_text(value) for value in islice(found, RECEIPTS_IN_HAND_MAX))


async def _receipt_list(worker: Worker, piece: bytes, found: Iterator[lookups.Value]) -> AsyncIterator[bytes]:
    """Yield the list as it is read: an id may have a million receipts."""
    yield b"["
    while piece:
        following = await worker.run(_receipts, found)
        yield piece + (b",\n" if following else b"]")
        piece = following


async def _dead_lines(
    reader: Reader, worker: Worker, source_id: str | None, page: Sequence[lookups.Value], after: int | None
) -> AsyncIterator[bytes]:
    while page:
        yield b"".join(json_text(value) + b"\n" for value in page)
        if after is None:
            return
        page, after = await worker.run(lookups.dead_page, reader, source_id, after)


def _add_refusals(app: QuartTrio, refusals: RecordOf, sources: Sources) -> None:
    async def show_refusals(source_id: str) -> Response:
        limit = unwrap(params.limit(query_string(), REFUSALS_MAX))
        if all(source["id"] != source_id for source in sources()):
            raise Refused(NO_SOURCE)
        found = [describe(record) for record in await refusals(source_id, limit)]
        return response(Answer(200, json_text({"refusals": found})))

    app.add_url_rule("/refusals/<source_id:source_id>", view_func=show_refusals, methods=["GET"])


def _add_requeue(app: QuartTrio, requeue: Requeue, sources: Sources, health: Health) -> None:
    async def requeue_events() -> Response:
        body = unwrap(await body_reader().read(up_to(REQUEUE_BODY_BYTES_MAX)))
        source_id, event_ids = unwrap(params.requeue_command(body))
        unwrap(health.command_refusal())
        if all(source["id"] != source_id for source in sources()):
            raise Refused(NO_SOURCE)
        done = unwrap(await requeue(source_id, event_ids))
        return response(Answer(200, json_text({"requeued": done.requeued, "unknown": list(done.unknown)})))

    app.add_url_rule("/requeue", view_func=requeue_events, methods=["POST"])


def _add_trust_clock(app: QuartTrio, trust_clock: TrustClock, health: Health) -> None:
    async def believe_clock() -> Response:
        dry_run = unwrap(params.trust_clock_command(unwrap(await body_reader().read(up_to(TRUST_BODY_BYTES_MAX)))))
        unwrap(health.command_refusal())
        return response(Answer(200, json_text(unwrap(await trust_clock(dry_run)))))

    app.add_url_rule("/trust-clock", view_func=believe_clock, methods=["POST"])


def _refused(refusal: Refusal) -> Response:
    return response(refusal_answer(refusal, close=request.method == "POST"))
