"""`/dead`: all dead events as they are read, a page of them, or how many there are of each kind."""

from collections.abc import AsyncIterator, Sequence

from quart import Response
from quart_trio import QuartTrio

from server.base.json_text import json_text
from server.base.refusal import Refusal, refuse
from server.base.worker import Worker
from server.http.admin import params
from server.http.admin.event_routes import AFTER, EVENTS_SHOWN, LIMIT, NEXT, next_header
from server.http.admin.view import IsSource, Refused, check_source, query_string, unwrap
from server.http.answer import Answer
from server.http.asgi.routes import response
from server.http.operation import Content, Parameter, json_of, operation
from server.observe import receipts as lookups
from server.observe.event_query import BadQuery, number_of
from server.observe.events import as_lines
from server.observe.json_schema import TEXT, one_of
from storage.read.reader import Reader
from storage.read.scan import PAGE_EVENTS_MAX

NO_GROUP = refuse("invalid_request", "dead events are grouped by kind alone: ?group=kind")
NO_PAGE = refuse("invalid_request", "all dead events are counted by kind: leave out after and limit")
LINES = "application/x-ndjson"


def add_dead(app: QuartTrio, reader: Reader, worker: Worker, is_source: IsSource) -> None:
    """Add the route. `reader` is used in `worker` only."""

    @operation(
        "The receipts of dead events, one a line: all, or with `after` or `limit` a page; or how many there are of "
        "each kind.",
        {200: [Content(LINES, TEXT), json_of("DeadKinds")]},
        ["not_found"],
        query=[
            Parameter("source", "Of this source alone.", TEXT),
            Parameter("group", "Count them by source and kind of error.", one_of("kind")),
            AFTER,
            LIMIT,
        ],
        headers=NEXT,
    )
    async def dead() -> Response:
        source_id = unwrap(params.value(query_string(), "source"))
        check_source(source_id, is_source)
        group = unwrap(params.value(query_string(), "group"))
        wanted = unwrap(_wanted(query_string()))
        if group is not None:
            return await kinds(source_id, group, wanted)
        if wanted is not None:
            values, following = await worker.run(lookups.dead_some, reader, source_id, *wanted)
            told = next_header(None if following is None else {"after": following})
            return response(Answer(200, as_lines(values), headers=((b"content-type", LINES.encode()), *told)))
        page, after = await worker.run(lookups.dead_page, reader, source_id, 0)  # what fails here is still answered
        return Response(_lines(reader, worker, source_id, page, after), 200, {"content-type": LINES})

    async def kinds(source_id: str | None, group: str, wanted: tuple[int, int] | None) -> Response:
        if group != "kind":
            raise Refused(NO_GROUP)
        if wanted is not None:
            raise Refused(NO_PAGE)
        found, start = lookups.DeadKinds(), 0
        while True:
            page, following = await worker.run(reader.dead_page, source_id, start)
            found.add(page)
            if following is None:
                return response(Answer(200, json_text({"kinds": found.report()})))
            start = following

    app.add_url_rule("/dead", view_func=dead, methods=["GET"])


def _wanted(query: bytes) -> tuple[int, int] | Refusal | None:
    """Return the number after which a page begins, and how many it may have; None if all are wanted."""
    after, limit = params.value(query, "after"), params.value(query, "limit")
    if after is None and limit is None:
        return None
    if isinstance(after, Refusal):
        return after
    most = EVENTS_SHOWN if limit is None else params.limit(query, PAGE_EVENTS_MAX)
    try:
        return most if isinstance(most, Refusal) else (number_of(after or "0"), most)
    except BadQuery as error:
        return refuse("invalid_request", str(error))


async def _lines(
    reader: Reader, worker: Worker, source_id: str | None, page: Sequence[lookups.Value], after: int | None
) -> AsyncIterator[bytes]:
    while page:
        yield as_lines(page)
        if after is None:
            return
        page, after = await worker.run(lookups.dead_page, reader, source_id, after)
