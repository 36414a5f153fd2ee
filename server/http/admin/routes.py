"""The admin listener: health, metrics, sources, look-ups. Nothing here reads the store on the event loop."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import cache
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
from server.http.admin.command_routes import NO_SOURCE, Commands, add_commands
from server.http.admin.dead_routes import add_dead
from server.http.admin.event_routes import Finding, add_events
from server.http.admin.openapi import document, shown_path
from server.http.admin.page_routes import add_page
from server.http.admin.view import Refused, query_string, scope, unwrap
from server.http.answer import Answer, refusal_answer
from server.http.asgi.routes import add_health, quiet_quart, refused_request, response
from server.http.frontend import Observe
from server.http.head import Fields
from server.http.operation import Content, Parameter, json_of, operation
from server.observe import receipts as lookups
from server.observe.health import Health
from server.observe.metrics import CONTENT_TYPE
from server.observe.refusals import REFUSALS_MAX, describe
from server.observe.schemas import TEXT, one_of
from storage.errors import StoreError
from storage.read.reader import Reader
from storage.refusals.records import RefusalRecord

RECEIPTS_IN_HAND_MAX = 500
"""Receipts of a list that are read and sent at a time."""

EVENT_ID = Parameter("event_id", "The event's id, if it is not in the path.", TEXT, required=True)
NO_EVENT = refuse("not_found", "there is no event of this id")
NO_DELIVERY = refuse("not_found", "there is no delivery of this id")

Lookup = Callable[..., Any]


RecordOf = Callable[[str, int], Awaitable[Sequence[RefusalRecord]]]
"""Returns the last refused requests of a source, as many as are asked for, the newest first."""


class Reasons(Protocol):
    """Why events of one source wait."""

    def explained(self, pending: lookups.Value, /) -> lookups.Value:
        """Return a pending event with why it waits."""


ReasonsOf = Callable[[str], Reasons]
"""Returns why events of a source wait."""
Sources = Callable[[], Sequence[lookups.Value]]
"""Returns every source as `/sources` shows it; the key `id` holds its id."""


def build_admin_app(
    *,
    health: Health,
    metrics: Callable[[], Awaitable[bytes]],
    sources: Sources,
    capacity: Callable[[], lookups.Value],
    commands: Commands,
    reasons: ReasonsOf,
    refusals: RecordOf,
    reader: Reader,
    worker: Worker,
    finding: Finding,
    flushed: Callable[[], Awaitable[None]],
    observe: Observe,
    token: Callable[[], bytes],
    body_timeout_seconds: float,
    ingest_address: str,
) -> QuartTrio:
    """Return the application of `admin_bind`. `observe` is called for what no view answers. `ingest_address`: of the
    public side, for the document that describes both.

    `reader` is used, and `capacity` called, in `worker` only. `flushed` returns when all that was acknowledged before
    is in the store; `token` returns the admin token in force.
    """
    app = quiet_quart(body_timeout_seconds, observe)
    app.url_map.converters["event_id"] = EventIdConverter
    _add_guard(app, token, flushed, observe)
    add_health(app, health, observe)
    _add_reports(app, metrics, sources, capacity, worker)
    _add_lookups(app, reader, worker, reasons)
    add_dead(app, reader, worker)
    add_events(app, finding)
    _add_refusals(app, refusals, sources)
    add_commands(app, commands, lambda source_id: any(each["id"] == source_id for each in sources()), health)
    _add_document(app, ingest_address)
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
    @operation("Everything that is counted.", {200: Content("text/plain", TEXT)})
    async def show_metrics() -> Response:
        return response(Answer(200, await metrics(), headers=((b"content-type", CONTENT_TYPE.encode()),)))

    @operation("Each source, and how long the store holds.", {200: json_of("Sources")})
    async def show_sources() -> Response:
        found = await worker.run(capacity)
        return response(Answer(200, json_text({"sources": sources(), "capacity": found})))

    app.add_url_rule("/metrics", view_func=show_metrics, methods=["GET"])
    app.add_url_rule("/sources", view_func=show_sources, methods=["GET"])


def _add_document(app: QuartTrio, ingest_address: str) -> None:
    @cache
    def text() -> bytes:
        return json_text(document(app.url_map.iter_rules(), app.view_functions, ingest_address))

    @operation("This document.", {200: Content("application/json", {"type": "object"})})
    async def show_document() -> Response:
        return response(Answer(200, text()))

    app.add_url_rule("/openapi.json", view_func=show_document, methods=["GET"])


def _add_list(app: QuartTrio) -> None:
    """Add `/routes`, which lists all routes added so far; so it comes last."""
    routes = [
        f"{method} {shown_path(rule.rule)}"
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]

    @operation("The routes of the admin side.", {200: json_of("Routes")})
    async def show_routes() -> Response:
        return response(Answer(200, json_text(routes)))

    app.add_url_rule("/routes", view_func=show_routes, methods=["GET"])


def _add_lookups(app: QuartTrio, reader: Reader, worker: Worker, reasons: ReasonsOf) -> None:
    async def find(lookup: Lookup, missing: Refusal, *key: str, why: Reasons | None = None) -> Response:
        try:
            body = await worker.run(_look_up, why, lookup, reader, *key)
        except lookups.Expired as error:
            raise Refused(refuse("expired", str(error))) from None
        except lookups.BodyForgotten as error:
            raise Refused(refuse("forgotten", str(error))) from None
        return response(Answer(200, unwrap(missing if body is None else body)))

    @operation(
        "The receipt of an event: of the processed one of this id, else of the newest; pending if it has no outcome.",
        {200: json_of("Receipts")},
        ["not_found", "expired"],
        query=[EVENT_ID, Parameter("all", "Every receipt of this id instead, the newest first.", one_of("true"))],
    )
    async def receipts(source_id: str, event_id: str | None = None) -> Response:
        wants_all = unwrap(params.value(query_string(), "all")) == "true"
        found_id = unwrap(params.event_id(event_id, query_string()))
        if wants_all:
            return await every_receipt(source_id, found_id)
        return await find(lookups.receipt, NO_EVENT, source_id, found_id, why=reasons(source_id))

    async def every_receipt(source_id: str, event_id: str) -> Response:
        why = reasons(source_id)
        found = (_explained(each, why) for each in lookups.receipts(reader, source_id, event_id))
        first = unwrap(await worker.run(_receipts, found) or NO_EVENT)  # what fails here is still answered
        return Response(_receipt_list(worker, first, found), 200, {"content-type": "application/json"})

    @operation(
        "The normalised event of this id.",
        {200: json_of("Event")},
        ["not_found", "expired", "forgotten"],
        query=[EVENT_ID],
    )
    async def events(source_id: str, event_id: str | None = None) -> Response:
        try:
            return await find(lookups.event, NO_EVENT, source_id, unwrap(params.event_id(event_id, query_string())))
        except lookups.BodyNotKept as error:
            raise Refused(refuse("not_found", str(error))) from None

    @operation(
        "A delivery: when, from where, and what became of each of its items.",
        {200: json_of("Delivery")},
        ["not_found", "expired"],
    )
    async def deliveries(delivery_id: str) -> Response:
        identity = unwrap(params.decoded(delivery_id.encode("latin-1")))
        source_id = await worker.run(reader.source_of, identity)
        why = None if source_id is None else reasons(source_id)
        return await find(lookups.delivery, NO_DELIVERY, identity, why=why)

    for name, view in (("receipts", receipts), ("events", events)):
        app.add_url_rule(f"/{name}/<source_id:source_id>", name, view, methods=["GET"])
        app.add_url_rule(f"/{name}/<source_id:source_id>/<event_id:event_id>", name, view, methods=["GET"])
    app.add_url_rule("/deliveries/<delivery_id>", view_func=deliveries, methods=["GET"])


def _look_up(why: Reasons | None, lookup: Lookup, reader: Reader, *key: str) -> bytes | None:
    """Return what the look-up finds, as JSON; runs in the worker, since encoding a large event takes time too."""
    value = lookup(reader, *key)
    return None if value is None else json_text(value if why is None else _explained(value, why))


def _explained(value: lookups.Value, why: Reasons) -> lookups.Value:
    """Return a receipt, or a delivery with its items, with why what is pending waits."""
    items = value.get("items")
    if isinstance(items, list):
        return value | {"items": [_explained(item, why) for item in items]}
    return why.explained(value) if "pending" in value else value


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


def _add_refusals(app: QuartTrio, refusals: RecordOf, sources: Sources) -> None:
    @operation(
        "The last refused requests of a source, the newest first, and why.",
        {200: json_of("RefusedRequests")},
        ["not_found"],
        query=[
            Parameter("limit", "How many.", {"type": "integer", "minimum": 1, "maximum": REFUSALS_MAX}),
        ],
    )
    async def show_refusals(source_id: str) -> Response:
        limit = unwrap(params.limit(query_string(), REFUSALS_MAX))
        if all(source["id"] != source_id for source in sources()):
            raise Refused(NO_SOURCE)
        found = [describe(record) for record in await refusals(source_id, limit)]
        return response(Answer(200, json_text({"refusals": found})))

    app.add_url_rule("/refusals/<source_id:source_id>", view_func=show_refusals, methods=["GET"])


def _refused(refusal: Refusal) -> Response:
    return response(refusal_answer(refusal, close=request.method == "POST"))
