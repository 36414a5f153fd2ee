"""The admin listener: health, metrics, sources, look-ups, requeue. Nothing here reads the store on the loop."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol, cast

from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.routing import BaseConverter

from server.base.json_text import json_text
from server.base.refusal import Refusal, Refused, refuse
from server.base.worker import Worker
from server.http.admin import commands
from server.http.admin import guard as admin_guard
from server.http.answer import Answer, refusal_answer
from server.http.asgi.body import Scope, up_to
from server.http.asgi.routes import add_health, body_reader, quiet_quart, response
from server.observe import receipts as lookups
from server.observe.metrics import CONTENT_TYPE
from storage.errors import StoreError
from storage.read.reader import Reader

REQUEUE_BODY_BYTES_MAX = 8 * 2**20
"""Room for the most ids of 512 bytes, escaped."""
RECEIPTS_IN_HAND_MAX = 500
"""Of a list of receipts: read and sent at a time."""

CONVERTED = re.compile("<(?:[^<>]*:)?([^<>]+)>")
VARIABLE = r"{\1}"
"""A variable part of a route, as werkzeug writes it, and as people do."""
NO_EVENT = refuse("not_found", "there is no event of this id")
NO_DELIVERY = refuse("not_found", "there is no delivery of this id")

Finding = Callable[..., Any]


class AdminHealth(Protocol):
    """What the admin side asks."""

    def live(self) -> bool: ...
    def ready(self) -> tuple[bool, Mapping[str, object]]: ...
    def refusal(self) -> Refusal | None: ...


class RequeuedProtocol(Protocol):
    """How many events were given back, and the ids of which none is dead."""

    @property
    def requeued(self) -> int: ...
    @property
    def unknown(self) -> Sequence[str]: ...


Requeue = Callable[[str, Sequence[str] | None], Awaitable[RequeuedProtocol | Refusal]]
"""Gives back a source's dead events of these ids; None: all of them."""
Sources = Callable[[], Sequence[lookups.Value]]
"""Every source, as `/sources` shows it; `id` is its id."""


def build_admin_app(
    *,
    health: AdminHealth,
    metrics: Callable[[], Awaitable[bytes]],
    sources: Sources,
    requeue: Requeue,
    reader: Reader,
    worker: Worker,
    flushed: Callable[[], Awaitable[None]],
    token: Callable[[], bytes],
    body_timeout_seconds: float,
) -> QuartTrio:
    """The application of `admin_bind`. `reader` is used in `worker` only; `flushed` returns when all that was
    acknowledged before is there to be shown; `token` gives the admin token in force."""
    app = quiet_quart(body_timeout_seconds, _uncounted)
    app.url_map.converters["event_id"] = EventIdConverter
    _add_guard(app, token, flushed)
    add_health(app, health, _uncounted)
    _add_reports(app, metrics, sources)
    _add_lookups(app, reader, worker)
    _add_requeue(app, requeue, sources, health)
    _add_root(app)
    return app


class EventIdConverter(BaseConverter):
    """All that is left of the path, slashes included; still percent-encoded."""

    part_isolating = False
    regex = ".+"


def _uncounted(status: int, code: str, seconds: float, remote_addr: str = "", source: str = "", /) -> None:
    """Who watches the server is no traffic."""


def _add_guard(app: QuartTrio, token: Callable[[], bytes], flushed: Callable[[], Awaitable[None]]) -> None:
    async def guard() -> Response | None:
        refusal = admin_guard.judge(request.method, request.path, _scope()["headers"], token())
        if refusal is not None:
            return _refused(refusal)
        if request.path not in admin_guard.OPEN_PATHS:
            await flushed()
        return None

    async def refused(error: Refused) -> Response:
        return _refused(error.refusal)

    async def failed(error: StoreError) -> Response:
        return _refused(refuse("storage_failed", f"the store cannot be read: {error}"))

    app.before_request(guard)
    app.register_error_handler(Refused, refused)
    app.register_error_handler(StoreError, failed)


def _add_reports(app: QuartTrio, metrics: Callable[[], Awaitable[bytes]], sources: Sources) -> None:
    async def show_metrics() -> Response:
        return response(Answer(200, await metrics(), headers=((b"content-type", CONTENT_TYPE.encode()),)))

    async def show_sources() -> Response:
        return response(Answer(200, json_text({"sources": sources()})))

    app.add_url_rule("/metrics", view_func=show_metrics, methods=["GET"])
    app.add_url_rule("/sources", view_func=show_sources, methods=["GET"])


def _add_root(app: QuartTrio) -> None:
    """Last of all: it tells what the others have added."""
    routes = [
        f"{method} {CONVERTED.sub(VARIABLE, rule.rule)}"
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]

    async def show_routes() -> Response:
        return response(Answer(200, json_text(routes)))

    app.add_url_rule("/", view_func=show_routes, methods=["GET"])


def _add_lookups(app: QuartTrio, reader: Reader, worker: Worker) -> None:
    async def find(finding: Finding, missing: Refusal, *key: str) -> Response:
        body = await worker.run(_found, finding, reader, *key)
        if body is None:
            raise Refused(missing)
        return response(Answer(200, body))

    async def receipts(source_id: str, event_id: str | None = None) -> Response:
        if commands.value(_query(), "all") == "true":
            return await every_receipt(source_id, commands.event_id(event_id, _query()))
        return await find(lookups.receipt, NO_EVENT, source_id, commands.event_id(event_id, _query()))

    async def every_receipt(source_id: str, event_id: str) -> Response:
        found = lookups.receipts(reader, source_id, event_id)
        first = await worker.run(_receipts, found)  # what fails here is still answered
        if not first:
            raise Refused(NO_EVENT)
        return Response(_receipt_list(worker, first, found), 200, {"content-type": "application/json"})

    async def events(source_id: str, event_id: str | None = None) -> Response:
        try:
            return await find(lookups.event, NO_EVENT, source_id, commands.event_id(event_id, _query()))
        except lookups.BodyNotKept as error:
            raise Refused(refuse("not_found", str(error))) from None

    async def deliveries(delivery_id: str) -> Response:
        return await find(lookups.delivery, NO_DELIVERY, commands.decoded(delivery_id.encode("latin-1")))

    async def dead() -> Response:
        source_id = commands.value(_query(), "source")
        page, after = await worker.run(lookups.dead_page, reader, source_id, 0)  # what fails here is still answered
        lines = _dead_lines(reader, worker, source_id, page, after)
        return Response(lines, 200, {"content-type": "application/x-ndjson"})

    for name, view in (("receipts", receipts), ("events", events)):
        app.add_url_rule(f"/{name}/<source_id:source_id>", name, view, methods=["GET"])
        app.add_url_rule(f"/{name}/<source_id:source_id>/<event_id:event_id>", name, view, methods=["GET"])
    app.add_url_rule("/deliveries/<delivery_id>", view_func=deliveries, methods=["GET"])
    app.add_url_rule("/dead", view_func=dead, methods=["GET"])


def _found(finding: Finding, reader: Reader, *key: str) -> bytes | None:
    """In the worker: what is found, as JSON; the text of a large event takes its time too."""
    value = finding(reader, *key)
    return None if value is None else json_text(value)


def _receipts(found: Iterator[lookups.Value]) -> bytes:
    """In the worker: the next receipts of a list; empty at its end."""
    return b",\n".join(json_text(value) for value in islice(found, RECEIPTS_IN_HAND_MAX))


async def _receipt_list(worker: Worker, piece: bytes, found: Iterator[lookups.Value]) -> AsyncIterator[bytes]:
    """Written as it is read: an id may have come a million times."""
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


def _add_requeue(app: QuartTrio, requeue: Requeue, sources: Sources, health: AdminHealth) -> None:
    async def take_order() -> Response:
        body = await body_reader().read(up_to(REQUEUE_BODY_BYTES_MAX))
        if isinstance(body, Refusal):
            raise Refused(body)
        source_id, event_ids = commands.requeue_order(body)
        refusal = health.refusal()
        if refusal is not None:
            raise Refused(refusal)
        if all(source["id"] != source_id for source in sources()):
            raise Refused(refuse("not_found", "there is no source of this id"))
        done = await requeue(source_id, event_ids)
        if isinstance(done, Refusal):
            raise Refused(done)
        return response(Answer(200, json_text({"requeued": done.requeued, "unknown": list(done.unknown)})))

    app.add_url_rule("/requeue", view_func=take_order, methods=["POST"])


def _query() -> bytes:
    return cast(bytes, _scope()["query_string"])


def _refused(refusal: Refusal) -> Response:
    return response(refusal_answer(refusal, close=request.method == "POST"))


def _scope() -> Scope:
    return cast(Scope, request.scope)
