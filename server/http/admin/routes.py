"""The admin listener: health, metrics, sources, look-ups. Nothing here reads the store on the event loop."""

from collections.abc import Awaitable, Callable, Sequence
from functools import cache

from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.routing import BaseConverter

from server.base.json_text import json_text
from server.base.refusal import Refusal, refuse
from server.base.worker import Worker
from server.http.admin import guard as admin_guard
from server.http.admin import params
from server.http.admin.command_routes import Commands, add_commands
from server.http.admin.dead_routes import add_dead
from server.http.admin.event_routes import add_events
from server.http.admin.finding import Finding
from server.http.admin.lookup_routes import ReasonsOf, add_lookups
from server.http.admin.openapi import document, shown_path
from server.http.admin.page_routes import add_page
from server.http.admin.view import IsSource, Refused, check_source, query_string, scope, unwrap
from server.http.answer import Answer, refusal_answer
from server.http.asgi.routes import add_health, quiet_quart, refused_request, response
from server.http.frontend import Observe
from server.http.head import Fields
from server.http.operation import Content, Parameter, json_of, operation
from server.observe import receipts as lookups
from server.observe.health import Health
from server.observe.json_schema import TEXT
from server.observe.metrics import CONTENT_TYPE
from server.observe.refusals import REFUSALS_MAX, describe
from storage.errors import StoreError
from storage.read.reader import Reader
from storage.refusals.records import RefusalRecord

RecordOf = Callable[[str, int], Awaitable[Sequence[RefusalRecord]]]
"""Returns the last refused requests of a source, as many as are asked for, the newest first."""
Sources = Callable[[], Sequence[lookups.Value]]
"""Returns every source as `/sources` shows it; the key `id` holds its id."""


def build_admin_app(
    *,
    health: Health,
    metrics: Callable[[], Awaitable[bytes]],
    sources: Sources,
    is_source: IsSource,
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
    add_lookups(app, reader, worker, reasons)
    add_dead(app, reader, worker, is_source)
    add_events(app, finding, is_source)
    _add_refusals(app, refusals, is_source)
    add_commands(app, commands, is_source, health)
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


def _add_refusals(app: QuartTrio, refusals: RecordOf, is_source: IsSource) -> None:
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
        check_source(source_id, is_source)
        found = [describe(record) for record in await refusals(source_id, limit)]
        return response(Answer(200, json_text({"refusals": found})))

    app.add_url_rule("/refusals/<source_id:source_id>", view_func=show_refusals, methods=["GET"])


def _refused(refusal: Refusal) -> Response:
    return response(refusal_answer(refusal, close=request.method == "POST"))
