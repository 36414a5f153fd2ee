"""The document at `/openapi.json`: it has every route and every code that there is, and nothing else."""

import inspect
import json
from collections.abc import Iterator
from typing import Any

import pytest
from quart_trio import QuartTrio

from server.base.refusal import STATUS
from server.http.admin.openapi import document, routes_of
from server.http.admin.routes import build_admin_app
from server.intake.routes import INBOUND, SDK_ROUTES, target_of
from server.observe.metrics import Requests
from server.observe.schemas import SCHEMAS

ADDRESS = "127.0.0.1:8080"
HEALTH = {"/livez", "/readyz"}

Found = dict[str, Any]


@pytest.fixture(scope="module")
def app() -> QuartTrio:
    """The application of the admin side, of which nothing is asked."""
    nothing: dict[str, Any] = dict.fromkeys(inspect.signature(build_admin_app).parameters)
    return build_admin_app(**nothing | {"body_timeout_seconds": 1, "ingest_address": ADDRESS})


@pytest.fixture(scope="module")
def found(app: QuartTrio) -> Found:
    """The document, as it is sent."""
    return json.loads(json.dumps(document(app.url_map.iter_rules(), app.view_functions, ADDRESS)))  # type: ignore[no-any-return]  # JSON


def operations(found: Found, tag: str) -> Iterator[tuple[str, str, Found]]:
    """Each path, method and description of a side."""
    for path, item in found["paths"].items():
        for method, described in item.items():
            if method not in ("servers", "parameters") and tag in described["tags"]:
                yield path, method.upper(), described


def codes_of(described: Found) -> set[tuple[int, str]]:
    """The pairs of status and code with which this operation may be refused."""
    pairs = set()
    for status, response in described["responses"].items():
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        for each in schema.get("anyOf", [schema]):
            codes = each.get("properties", {}).get("code", {}).get("enum", [])
            pairs |= {(int(status), code) for code in codes}
    return pairs


def test_every_admin_route_is_described(app: QuartTrio, found: Found) -> None:
    """Each route of the admin side stands in the document, since its view is described, and no other does.

    A route that fails here lacks `@operation(…)` at its view: see http/operation.py.
    """
    routes = {(path, method) for path, method, _ in routes_of(app.url_map.iter_rules())}
    assert routes == {(path, method) for path, method, _ in operations(found, "admin")}
    assert ("/openapi.json", "GET") in routes


def test_every_public_route_is_described(found: Found) -> None:
    """Each route of deliveries stands in the document, below a source's and at the root, and leads where it says."""
    posts = {path for path, method, _ in operations(found, "ingest") if method == "POST"}
    own = f"{INBOUND}{{source_id}}"
    assert posts == {own, *SDK_ROUTES, *(f"{own}{suffix}" for suffix in SDK_ROUTES)}
    for path in posts:
        target = target_of(path.replace("{source_id}", "demo").encode())
        assert target is not None
        assert target.source_id == ("demo" if "{" in path else "")
        assert target.route == SDK_ROUTES.get(path.removeprefix(own))
        assert ADDRESS in json.dumps(found["paths"][path]["servers"])


def test_every_public_answer_is_described(found: Found) -> None:
    """The public side's pairs of status and code are those of its metric, each on a route that can have it."""
    pairs = set().union(*(codes_of(described) for _, _, described in operations(found, "ingest")))
    assert pairs == {(status, code) for status, code in Requests().counts if code}


def test_every_code_is_described(found: Found) -> None:
    """Each code stands in the document, with the status that it has everywhere but for SDKs."""
    admin = set().union(*(codes_of(described) for _, _, described in operations(found, "admin")))
    public = set().union(*(codes_of(described) for _, _, described in operations(found, "ingest")))
    assert {code for _, code in admin | public} == set(STATUS)
    assert {(status, code) for status, code in admin | public if STATUS[code] != status and status != 429} == set()


def test_every_parameter_has_its_words(found: Found) -> None:
    """What stands in a path or a query says what it is; a path has all of its own, and each operation its own id."""
    ids = []
    for tag in ("admin", "ingest"):
        for path, _, described in operations(found, tag):
            ids.append(described["operationId"])
            assert described["summary"]
            assert all(each["description"] for each in described["parameters"]), path
            in_path = {each["name"] for each in described["parameters"] if each["in"] == "path"}
            assert in_path == {part.partition("}")[0] for part in path.split("{")[1:]}
    assert len(ids) == len(set(ids))


def test_every_schema_is_used(found: Found) -> None:
    """Each schema that is referred to exists, and each that exists is referred to."""
    text = json.dumps(found)
    used = {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert used == set(SCHEMAS) == set(found["components"]["schemas"])


def test_health_routes_are_on_both_sides(found: Found) -> None:
    """The health routes name both servers, and need no token."""
    for path in HEALTH:
        assert [each["url"] for each in found["paths"][path]["servers"]] == ["/", "http://{address}"]
        assert found["paths"][path]["get"]["security"] == []


def test_lists_name_their_next_page(found: Found) -> None:
    """Where a list is given in pages of lines, the header that says where to go on is described, and need not be
    there."""
    for path in ("/events", "/dead"):
        headers = found["paths"][path]["get"]["responses"]["200"]["headers"]
        assert headers == {"Tidegate-Next": {"required": False, "schema": {"type": "string"}}}
