"""`/receipts`, `/events` of one id and `/deliveries`: what is known of what came; in a worker's thread."""

from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from typing import Any, Protocol

from quart import Response
from quart_trio import QuartTrio

from server.base.json_text import json_text
from server.base.refusal import Refusal, refuse
from server.base.worker import Worker
from server.http.admin import params
from server.http.admin.view import Refused, query_string, unwrap
from server.http.answer import Answer
from server.http.asgi.routes import response
from server.http.operation import Parameter, json_of, operation
from server.observe import receipts as lookups
from server.observe.json_schema import TEXT, one_of
from storage.read.reader import Reader

RECEIPTS_IN_HAND_MAX = 500
"""Receipts of a list that are read and sent at a time."""

EVENT_ID = Parameter("event_id", "The event's id, if it is not in the path.", TEXT, required=True)
NO_EVENT = refuse("not_found", "there is no event of this id")
NO_DELIVERY = refuse("not_found", "there is no delivery of this id")

Lookup = Callable[..., Any]


class Reasons(Protocol):
    """Why events of one source wait."""

    def explained(self, pending: lookups.Value, /) -> lookups.Value:
        """Return a pending event with why it waits."""


ReasonsOf = Callable[[str], Reasons]
"""Returns why events of a source wait."""


def add_lookups(app: QuartTrio, reader: Reader, worker: Worker, reasons: ReasonsOf) -> None:
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
