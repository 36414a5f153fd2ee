"""The table of deliveries' routes: what each target says, and where its key is."""

import re

import pytest

from server.intake.routes import PATHS, SDK_ROUTES, Target, authorization_of, target_of

PLACES = {"": "", "/ingest/inbound/app": "app", "/ingest/inbound/" + "a" * 64: "a" * 64}

NOT_ROUTES = [
    "/", "/v1", "/v1/", "/v1/x", "/v1/batch//", "/v1/batch/x", "/V1/batch", "/v1//batch", "//v1/batch", "/v1/batchx",
    "/beacon/v1/track", "/beacon/v1/b", "/beacon/batch", "/ingest/inbound/app/", "/ingest/inbound//v1/batch",
    "/ingest/inbound/a.b/v1/batch", "/ingest/inbound/" + "a" * 65 + "/v1/batch", "/ingest/inbound/v1/batch/",
    "/ingest/inbound/app/v1/%62atch", "/ingest/inbound/app/v1/batch;x", "/x/v1/batch", "/v1/batch#x", "*", "",
]  # fmt: skip


def is_path(path: str) -> bool:
    """What the router of the complete front end says."""
    return path.startswith("/") and re.fullmatch(PATHS, path[1:]) is not None


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("suffix", SDK_ROUTES)
def test_sdk_routes_stand_below_each_place(suffix: str, place: str) -> None:
    """Each suffix is a route at the root and below a source, with one slash behind it too, and with any query."""
    for path in (place + suffix, place + suffix + "/"):
        assert target_of(path.encode()) == Target(PLACES[place], SDK_ROUTES[suffix], b"")
        assert target_of(f"{path}?a=b?c".encode()) == Target(PLACES[place], SDK_ROUTES[suffix], b"a=b?c")
        assert is_path(path)


def test_a_route_gives_its_type() -> None:
    """The routes of single events give their type, by name and by initial; those of batches give none."""
    kinds = {suffix: route.type for suffix, route in SDK_ROUTES.items() if route.type}
    assert len(kinds) == 12
    assert all(suffix in (f"/v1/{kind}", f"/v1/{kind[0]}") for suffix, kind in kinds.items())
    assert SDK_ROUTES.keys() - kinds == {"/v1/batch", "/v1/import", "/v1/b", "/beacon/v1/batch"}


def test_a_sources_own_route_stays() -> None:
    """The route of a source itself has no suffix, and no slash at its end."""
    assert target_of(b"/ingest/inbound/app?x") == Target("app", None, b"x")
    assert is_path("/ingest/inbound/app")


@pytest.mark.parametrize("path", NOT_ROUTES)
def test_other_paths_are_no_routes(path: str) -> None:
    """Any other spelling is no route, for either front end."""
    assert target_of(path.encode()) is None
    assert not is_path(path)


@pytest.mark.parametrize(
    ("headers", "target", "found"),
    [
        ([], "/v1/b", None),
        ([], "/v1/b?writeKey=k", b"Bearer k"),
        ([], "/v1/b?x=1&writeKey=a%2Bb", b"Bearer a+b"),
        ([], "/v1/b?writeKey=", b"Bearer "),
        ([], "/v1/b?writeKey=k&writeKey=k", b""),
        ([], "/v1/b?xwriteKey=k", None),
        ([], "/ingest/inbound/app?writeKey=k", None),
        ([b"Basic x"], "/v1/b?writeKey=k", b"Basic x"),
        ([b""], "/v1/b?writeKey=k", b""),
        ([b"Bearer a", b"Bearer a"], "/v1/b", b""),
        ([b"Bearer a", b"Bearer a"], "/ingest/inbound/app", None),
        ([b"Bearer a"], "/ingest/inbound/app", b"Bearer a"),
    ],
)
def test_a_header_decides_alone(headers: list[bytes], target: str, found: bytes | None) -> None:
    """An Authorization header is the credential; without one a query's key is, on the routes of SDKs; no other."""
    said = target_of(target.encode())
    assert said is not None
    assert authorization_of(headers, said) == found
