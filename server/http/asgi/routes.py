"""The public listener's routes: ingest and health. Routes match the raw target, byte for byte."""

import encodings.idna  # noqa: F401 - the router would import it with its first request, for which no file may be left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import orjson
import trio
from quart import Response, request
from quart.wrappers.base import BaseRequestWebsocket
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter, MapAdapter

from server.base.refusal import Refusal, refuse
from server.http.answer import Answer, refusal_answer
from server.http.asgi.body import READER, BodyReader, Scope, with_body_reader
from server.http.frontend import (
    ROOM_LOOK_SECONDS,
    Denial,
    Entry,
    HealthChecks,
    Observe,
    RefusedRequest,
    RequestGate,
    delivery_head,
    delivery_refused,
    for_page,
    refused_delivery,
)
from server.http.head import Fields, logged_line
from server.http.operation import LIVENESS, READINESS
from server.http.remote import Network, remote_address
from server.intake.intake import DeliveryHead
from server.intake.routes import PATHS, SOURCE_ID, Target, target_of
from server.observe.refusals import Grounds

NO_PATH = "/ "
NO_METHOD = " "
"""Match no route: neither a target nor a method holds a space."""


def build_public_app(
    gate: RequestGate,
    health: HealthChecks,
    observe: Observe,
    *,
    body_timeout_seconds: float,
    trusted_proxies: Sequence[Network] = (),
) -> QuartTrio:
    """Return the application of `bind`. `observe` is called for every answer."""
    app = quiet_quart(body_timeout_seconds, observe, trusted_proxies)

    async def ingest(path: str) -> Response:  # noqa: ARG001  # what matched; the scope has it with its query
        started = trio.current_time()
        head = _head(trusted_proxies)
        entry = gate.enter(head)
        while isinstance(entry, Denial) and entry.may_wait(started, trio.current_time()):
            await trio.sleep(ROOM_LOOK_SECONDS)
            entry = gate.enter(head)
        if isinstance(entry, Denial):
            answer = delivery_refused(head, entry.refusal, close=True, grounds=entry.grounds)
            authenticated = entry.source_id
        else:
            answer, authenticated = await _answer(entry, head), entry.source_id
        seconds = trio.current_time() - started
        refused = refused_delivery(head, authenticated, answer.grounds) if answer.code else None
        observe(answer.status, answer.code, seconds, refused)
        return response(for_page(gate, head, answer))

    async def asked(error: MethodNotAllowed) -> Response:
        """A method that no route takes, unless a vendor or a browser asks before it sends."""
        head = _head(trusted_proxies) if _target() else None
        answer = (_asked_before(gate, head) if head else None) or http_answer(error)
        refused = refused_request(trusted_proxies, answer.grounds) if answer.code else None
        observe(answer.status, answer.code, 0.0, refused)
        error.__traceback__ = error.__context__ = None  # as in `refused`
        return response(for_page(gate, head, answer) if head else answer)

    app.add_url_rule("/<delivery:path>", view_func=ingest, methods=["POST"])
    app.register_error_handler(MethodNotAllowed, asked)
    add_health(app, health, observe)
    return app


def _asked_before(gate: RequestGate, head: DeliveryHead) -> Answer | None:
    """Return the answer to the current request, if it asks whether something may be sent."""
    scope = cast(Scope, request.scope)
    if head.route is None:
        return gate.handshake(head.source_id, scope["query_string"]) if scope["method"] == "GET" else None
    return gate.preflight(head.source_id, head.origin) if scope["method"] == "OPTIONS" else None


async def _answer(entry: Entry, head: DeliveryHead) -> Answer:
    """Read and submit the current request's body, and return the answer; close the entry in any case."""
    reader = body_reader()
    try:
        if entry.source_id:
            reader.authenticated()
        body = await reader.read(entry.grow)
        if isinstance(body, Refusal):
            return delivery_refused(head, body, close=True, grounds=entry.grounds(body))
        answers: list[Answer | Exception] = []
        is_answered = trio.Event()

        def on_answer(answer: Answer | Exception) -> None:
            answers.append(answer)
            is_answered.set()

        entry.submit(body, on_answer)
        await is_answered.wait()
        if entry.source_id:
            reader.authenticated()
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]
    finally:
        entry.close()


def _target() -> Target | None:
    scope = cast(Scope, request.scope)
    return target_of(scope["raw_path"] + b"?" + scope["query_string"])


def _head(trusted_proxies: Sequence[Network]) -> DeliveryHead:
    scope, target = cast(Scope, request.scope), _target()
    assert target is not None
    fields = Fields(scope["headers"])
    length = None if fields.all(b"transfer-encoding") else int(fields.only(b"content-length") or 0)
    return delivery_head(target, fields, length, scope["client"][0], trusted_proxies)


def body_reader() -> BodyReader:
    """Return the reader of the current request's body."""
    reader = cast(Scope, request.scope)[READER]
    assert isinstance(reader, BodyReader)
    return reader


def response(answer: Answer) -> Response:
    """Convert the answer for Quart."""
    result = Response(answer.body, answer.status)
    result.headers.pop("content-type")
    for name, value in answer.headers:
        result.headers.add(name.decode(), value.decode())
    if answer.close:
        result.headers["connection"] = "close"
    return result


def add_health(app: QuartTrio, health: HealthChecks, observe: Observe) -> None:
    """Add `/livez` and `/readyz`, which both listeners serve."""

    @LIVENESS
    async def livez() -> Response:
        is_live = health.live()
        return _report(is_live, {"status": "live" if is_live else "failed"})

    @READINESS
    async def readyz() -> Response:
        return _report(*health.ready())

    def _report(is_good: bool, facts: Mapping[str, object]) -> Response:
        answer = Answer(200 if is_good else 503, orjson.dumps(dict(facts)))
        observe(answer.status, "", 0.0)
        return response(answer)

    app.add_url_rule("/livez", view_func=livez, methods=["GET"])
    app.add_url_rule("/readyz", view_func=readyz, methods=["GET"])


class SourceIdConverter(BaseConverter):
    """Matches a source id; no route has any other segment there."""

    regex = SOURCE_ID


class DeliveryConverter(BaseConverter):
    """Matches the path of a delivery behind its first slash; there are more in it."""

    part_isolating = False
    regex = PATHS


class QuietQuart(QuartTrio):
    """Quart that never answers, redirects or logs by itself; routes match the raw path, whatever the Host."""

    def create_url_adapter(self, request: BaseRequestWebsocket | None) -> MapAdapter | None:
        if request is None:
            return None
        scope = cast(Scope, request.scope)
        path, method = scope["path"], scope["method"]
        return self.url_map.bind(
            "localhost",
            path_info=NO_PATH if path.startswith("//") else path,  # the router merges leading slashes
            default_method=method if method.isupper() else NO_METHOD,  # and takes `post` for `POST`
        )


def quiet_quart(body_timeout_seconds: float, observe: Observe, trusted_proxies: Sequence[Network] = ()) -> QuietQuart:
    """Return an application without routes that refuses in JSON. Bodies come through `body_reader()` alone.

    A handler's exception propagates to the connection, which logs it: no traceback page, no status that is not
    documented.
    """
    app = QuietQuart(__name__, static_folder=None)
    app.config.update(
        BODY_TIMEOUT=None,
        RESPONSE_TIMEOUT=None,
        MAX_CONTENT_LENGTH=None,
        PROPAGATE_EXCEPTIONS=True,
        PROVIDE_AUTOMATIC_OPTIONS=False,
    )
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.url_map.converters["source_id"] = SourceIdConverter
    app.url_map.converters["delivery"] = DeliveryConverter
    app.asgi_app = with_body_reader(app.asgi_app, body_timeout_seconds)  # type: ignore[method-assign,assignment]

    async def refused(error: HTTPException) -> Response:
        answer = http_answer(error)
        observe(answer.status, answer.code, 0.0, refused_request(trusted_proxies))
        error.__traceback__ = error.__context__ = None  # their frames hold the request, which holds it: a cycle
        return response(answer)

    app.register_error_handler(HTTPException, refused)
    return app


def refused_request(trusted_proxies: Sequence[Network] = (), grounds: Grounds | None = None) -> RefusedRequest:
    """Return the current request, for the log; `grounds` if it was meant for a source."""
    scope = cast(Scope, request.scope)
    address = remote_address(scope["client"][0], scope["headers"], trusted_proxies)
    return RefusedRequest(address, logged_line(scope["method"].encode(), scope["raw_path"]), grounds=grounds)


def http_answer(error: HTTPException) -> Answer:
    """Convert a refusal by Quart into one of ours."""
    if isinstance(error, MethodNotAllowed):
        methods = ", ".join(sorted(error.valid_methods or ()))
        answer = refusal_answer(refuse("method_not_allowed", f"this route takes {methods}"), close=False)
        return replace(answer, headers=(*answer.headers, (b"allow", methods.encode())))
    if error.code == 404:
        return refusal_answer(refuse("not_found", "no such route"), close=False)
    return refusal_answer(refuse("invalid_request", "the request is malformed"), close=False)
