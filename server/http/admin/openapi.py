"""The document behind `/openapi.json`: both sides, from their routes and from what stands at the views.

A route whose view is not described is left out; a test names it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from server import __version__
from server.base.refusal import SDK_LATER, STATUS
from server.http.admin.guard import OPEN_PATHS
from server.http.admin.ingest_operations import SDK_DELIVERY, ingest_operations
from server.http.operation import ATTRIBUTE, Content, Operation, Parameter
from server.intake.routes import SOURCE_ID
from server.observe.json_schema import TEXT, Schema, closed, one_of
from server.observe.schemas import SCHEMAS

EVERYWHERE = ("invalid_request", "timeout", "headers_too_large", "overloaded")
"""With these any request may be refused, before anything looks at its route."""
GUARDED = ("unauthorized", "forbidden", "storage_failed")
"""And with these any request of the admin side."""
COMMANDED = ("invalid_json", "unsupported_media_type", "too_large", "storage_full", "draining", "starting")
"""And with these any that has something done."""

_VARIABLE = re.compile("<(?:[^<>]*:)?([^<>]+)>")
"""A variable part of a route, in werkzeug's notation."""
_SHOWN = re.compile("{([a-z_]+)}")

PATH_PARAMETERS: Mapping[str, Parameter] = {
    each.name: each
    for each in (
        Parameter("source_id", "The id of a source.", {"type": "string", "pattern": f"^{SOURCE_ID}$"}),
        Parameter("event_id", "The event's id; any character of it may be percent-encoded.", TEXT),
        Parameter("delivery_id", "The delivery's id, as the answer to it says.", TEXT),
        Parameter("path", "Its name.", TEXT),
    )
}
"""All that stand in paths."""

_HEADERS: Mapping[int, Mapping[str, Schema]] = {
    401: {"WWW-Authenticate": TEXT},
    405: {"Allow": TEXT},
    429: {"Retry-After": TEXT},
    503: {"Retry-After": TEXT},
}
"""Those of refusals, by status."""


class RoutingRule(Protocol):
    """A route as the router has it."""

    @property
    def rule(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def methods(self) -> Any: ...


def shown_path(rule: str) -> str:
    """Return a route as people read it."""
    return _VARIABLE.sub(r"{\1}", rule)


def routes_of(rules: Iterable[RoutingRule]) -> Iterator[tuple[str, str, str]]:
    """Yield each route of the admin side: path, method, and the endpoint that names its view."""
    for rule in rules:
        for method in sorted(set(rule.methods or ()) - {"HEAD", "OPTIONS"}):
            yield shown_path(rule.rule), method, rule.endpoint


def document(
    rules: Iterable[RoutingRule], views: Mapping[str, Callable[..., Any]], ingest_address: str
) -> dict[str, Any]:
    """Return the document of both sides, of which one has these rules and views."""
    paths: dict[str, dict[str, Any]] = {}
    public = {
        "url": "http://{address}",
        "variables": {"address": {"default": ingest_address, "description": "server.bind, or the proxy before it."}},
    }
    for path, method, endpoint in routes_of(rules):
        found: Operation | None = getattr(views[endpoint], ATTRIBUTE, None)
        if found is not None:
            codes = (*EVERYWHERE, *GUARDED, *(COMMANDED if method == "POST" else ()), *found.codes)
            token: list[dict[str, Any]] = [] if found.is_open else [{"admin_token": []}, {}]
            described = _operation(path, method, found, _by_status(codes), tag="admin", security=token)
            paths.setdefault(path, {})[method.lower()] = described
    for path in OPEN_PATHS:
        paths[path]["servers"] = [{"url": "/"}, public]
    for path, method, found in ingest_operations():
        refusals = _by_status((*EVERYWHERE, *found.codes), is_sdk=found is SDK_DELIVERY)
        described = _operation(path, method, found, refusals, tag="ingest", security=[{"source_token": []}, {}])
        paths.setdefault(path, {"servers": [public]})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate",
            "version": __version__,
            "description": "Events come in on the public side (ingest); the admin side is asked and told about them.",
        },
        "servers": [{"url": "/", "description": "The admin side."}],
        "tags": [
            {"name": "ingest", "description": "The public side, on server.bind."},
            {"name": "admin", "description": "Never public, on server.admin_bind."},
        ],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "admin_token": {"type": "http", "scheme": "bearer", "description": "server.admin_token, if it is set."},
                "source_token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "One of the source's tokens; without any its signature decides.",
                },
            },
        },
    }


def _by_status(codes: Iterable[str], *, is_sdk: bool = False) -> Mapping[int, Sequence[str]]:
    """Return codes by their status. What comes before the route is known has no other one for SDKs."""
    pairs = {(STATUS[code], code) for code in codes if not is_sdk or code not in SDK_LATER or code in EVERYWHERE}
    if is_sdk:
        pairs |= {(429, code) for code in SDK_LATER}
    return {status: sorted(code for each, code in pairs if each == status) for status in sorted({s for s, _ in pairs})}


def _operation(
    path: str,
    method: str,
    found: Operation,
    refusals: Mapping[int, Sequence[str]],
    *,
    tag: str,
    security: list[dict[str, Any]],
) -> dict[str, Any]:
    in_path = _SHOWN.findall(path)
    parameters = [_parameter(PATH_PARAMETERS.get(name, Parameter(name, "", TEXT)), "path") for name in in_path]
    parameters += [_parameter(each, "query") for each in found.query if each.name not in in_path]
    described: dict[str, Any] = {
        "operationId": f"{method.lower()}{re.sub('[^a-z0-9]+', '_', path)}".rstrip("_"),
        "tags": [tag],
        "summary": found.words,
        "parameters": parameters,
        "security": security,
        "responses": _responses(found, refusals),
    }
    if found.body is not None:
        described["requestBody"] = {"required": True, "content": _content([found.body])}
    return described


def _parameter(found: Parameter, place: str) -> dict[str, Any]:
    return {
        "name": found.name,
        "in": place,
        "description": found.words,
        "required": found.required or place == "path",
        "schema": found.schema,
    }


def _responses(found: Operation, refusals: Mapping[int, Sequence[str]]) -> dict[str, Any]:
    said = {status: [each] if isinstance(each, Content) else list(each) for status, each in found.answers.items()}
    responses = {}
    for status in sorted({*said, *refusals}):
        codes = refusals.get(status, ())
        bodies = said.get(status, [])
        if codes:
            bodies = [*bodies, Content("application/json", closed({"code": one_of(*codes), "message": TEXT}))]
        response: dict[str, Any] = {"description": ", ".join(codes) or "Done."}
        if bodies:
            response["content"] = _content(bodies)
        headers = found.headers if status in said else _HEADERS.get(status, {})
        if headers:
            required = status not in said
            response["headers"] = {name: {"required": required, "schema": schema} for name, schema in headers.items()}
        responses[str(status)] = response
    return responses


def _content(bodies: Sequence[Content]) -> dict[str, Any]:
    """Return bodies by media type; where there are several of one, any of them."""
    by_type: dict[str, list[Schema]] = {}
    for body in bodies:
        by_type.setdefault(body.media_type, []).append(body.schema)
    return {
        name: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}} for name, schemas in by_type.items()
    }
