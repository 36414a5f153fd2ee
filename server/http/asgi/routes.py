"""The public listener's routes: ingest and health. Routes match the raw target, byte for byte."""

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
from server.http.frontend import GateProtocol, HealthProtocol, Observe
from server.http.remote import Network, remote_address, sender
from server.intake.intake import Head

NO_PATH = "/ "
NO_METHOD = " "
"""Match no route: neither a target nor a method holds a space."""


def build_public_app(
    gate: GateProtocol,
    health: HealthProtocol,
    observe: Observe,
    *,
    body_timeout_seconds: float,
    trusted_proxies: Sequence[Network] = (),
) -> QuartTrio:
    """The application of `bind`. `observe` hears of every answer that it gives."""
    app = quiet_quart(body_timeout_seconds, observe, trusted_proxies)

    async def ingest(source_id: str) -> Response:
        started = trio.current_time()
        head = _head(source_id, trusted_proxies)
        answer = await take(gate, head)
        seconds = trio.current_time() - started
        if answer.code:
            observe(answer.status, answer.code, seconds, *sender(head))
        else:
            observe(answer.status, "", seconds)
        return response(answer)

    app.add_url_rule("/ingest/inbound/<source_id:source_id>", view_func=ingest, methods=["POST"])
    add_health(app, health, observe)
    return app


async def take(gate: GateProtocol, head: Head) -> Answer:
    """Brings the current request through the gate: body, decision, commit. The body is read if the gate opens."""
    entry = gate.enter(head)
    if isinstance(entry, Refusal):
        return refusal_answer(entry, close=True)
    try:
        body = await body_reader().read(entry.grow)
        if isinstance(body, Refusal):
            return refusal_answer(body, close=True)
        answers: list[Answer] = []
        is_answered = trio.Event()

        def on_answer(answer: Answer) -> None:
            answers.append(answer)
            is_answered.set()

        entry.submit(body, on_answer)
        await is_answered.wait()
        return answers[0]
    finally:
        entry.close()


def _head(source_id: str, trusted_proxies: Sequence[Network]) -> Head:
    scope: Scope = cast(Scope, request.scope)
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    first = dict(reversed(headers))
    length = None if b"transfer-encoding" in first else int(first.get(b"content-length", b"0"))
    return Head(
        source_id=source_id,
        authorization=_only(headers, b"authorization"),
        headers=headers,
        content_length=length,
        remote_addr=remote_address(scope["client"][0], headers, trusted_proxies),
    )


def _only(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The one value of this header; None where it is missing, or there are several to choose from."""
    values = [value for key, value in headers if key == name]
    return values[0] if len(values) == 1 else None


def body_reader() -> BodyReader:
    """The current request's body, not read yet."""
    reader = cast(Scope, request.scope)[READER]
    assert isinstance(reader, BodyReader)
    return reader


def response(answer: Answer) -> Response:
    """The answer as Quart sends it."""
    result = Response(answer.body, answer.status)
    result.headers.pop("content-type")
    for name, value in answer.headers:
        result.headers.add(name.decode(), value.decode())
    if answer.close:
        result.headers["connection"] = "close"
    return result


def add_health(app: QuartTrio, health: HealthProtocol, observe: Observe) -> None:
    """`/livez` and `/readyz`, on either listener."""

    async def livez() -> Response:
        is_live = health.live()
        return _report(is_live, {"status": "live" if is_live else "failed"})

    async def readyz() -> Response:
        return _report(*health.ready())

    def _report(is_good: bool, facts: Mapping[str, object]) -> Response:
        answer = Answer(200 if is_good else 503, orjson.dumps(dict(facts)))
        observe(answer.status, "", 0.0)
        return response(answer)

    app.add_url_rule("/livez", view_func=livez, methods=["GET"])
    app.add_url_rule("/readyz", view_func=readyz, methods=["GET"])


class SourceIdConverter(BaseConverter):
    """A source id as the contract has it; any other segment is no route."""

    regex = "[A-Za-z0-9_-]{1,64}"


class QuietQuart(QuartTrio):
    """Quart without what answers, waits, redirects or logs by itself; routes match the raw path, whatever the Host."""

    def create_url_adapter(self, request: BaseRequestWebsocket | None) -> MapAdapter | None:
        if request is None:
            return None
        scope = cast(Scope, request.scope)
        path, method = scope["path"], scope["method"]
        return self.url_map.bind(
            "localhost",
            path_info=NO_PATH if path.startswith("//") else path,  # the router takes many leading slashes for one
            default_method=method if method.isupper() else NO_METHOD,  # and `post` for `POST`
        )


def quiet_quart(body_timeout_seconds: float, observe: Observe, trusted_proxies: Sequence[Network] = ()) -> QuietQuart:
    """An application without routes that refuses in JSON. Bodies come through `body_reader()` alone.

    A handler's exception ends in the server, which contains and logs it: no traceback page, no status outside the
    contract's list.
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
    app.asgi_app = with_body_reader(app.asgi_app, body_timeout_seconds)  # type: ignore[method-assign,assignment]

    async def refused(error: HTTPException) -> Response:
        answer = http_answer(error)
        scope = cast(Scope, request.scope)
        observe(answer.status, answer.code, 0.0, remote_address(scope["client"][0], scope["headers"], trusted_proxies))
        return response(answer)

    app.register_error_handler(HTTPException, refused)
    return app


def http_answer(error: HTTPException) -> Answer:
    """What Quart refuses, in the contract's words."""
    if isinstance(error, MethodNotAllowed):
        methods = ", ".join(sorted(error.valid_methods or ()))
        answer = refusal_answer(refuse("method_not_allowed", f"this route takes {methods}"), close=False)
        return replace(answer, headers=(*answer.headers, (b"allow", methods.encode())))
    if error.code == 404:
        return refusal_answer(refuse("not_found", "no such route"), close=False)
    return refusal_answer(refuse("invalid_request", "the request is malformed"), close=False)
