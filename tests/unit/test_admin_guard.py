"""Who may ask the admin side what."""

import pytest

from server.http.admin.guard import check
from server.http.head import Fields

LOCAL = (b"host", b"localhost:8081")
JSON = (b"content-type", b"application/json")


def code(method: str, path: str, *headers: tuple[bytes, bytes], token: bytes = b"") -> str | None:
    refusal = check(method, path, Fields(headers), token)
    return refusal.code if refusal else None


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:8081", "127.0.0.1", "127.0.0.1:8081", "[::1]", "[::1]:8081", "10.1.2.3:80", "localhost:"],
)
def test_local_hosts_need_no_token(host: str) -> None:
    """Without a token, localhost and IP addresses are good Hosts, with or without a port."""
    assert code("GET", "/metrics", (b"host", host.encode())) is None


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "localhost.example.com",
        "localhost.",
        "127.0.0.1.example.com",
        "127.1",
        "",
        "[localhost]",
        "a:b:c:1",
    ],
)
def test_other_hosts_are_refused_everywhere(host: str) -> None:
    """Without a token, a name that somebody could point at this host is refused, on every path; so are two Hosts."""
    assert code("GET", "/metrics", (b"host", host.encode())) == "forbidden"
    assert code("GET", "/livez", (b"host", host.encode())) == "forbidden"


def test_all_but_health_and_page_needs_the_token() -> None:
    """With a token, all but health and the page's files needs it, exactly it; any Host is good then."""
    host = (b"host", b"admin.example.com")
    for path in ("/metrics", "/nothing", "/livez/", "/requeue", "/dead", "/page", "//page/x", "/x/page/"):
        assert code("GET", path, host, token=b"secret") == "unauthorized"
        assert code("GET", path, host, (b"authorization", b"Bearer other"), token=b"secret") == "unauthorized"
        assert code("GET", path, host, (b"authorization", b"Bearer secret"), token=b"secret") is None
        twice = (b"authorization", b"Bearer secret")
        assert code("GET", path, host, twice, twice, token=b"secret") == "unauthorized"
    for path in ("/livez", "/readyz", "/", "/page/page.js"):
        assert code("GET", path, host, token=b"secret") is None


@pytest.mark.parametrize("token", [b"", b"secret"])
@pytest.mark.parametrize(
    ("origins", "refused"),
    [
        ([], False),
        ([b"http://localhost:8081"], False),
        ([b"HTTPS://LOCALHOST:8081"], False),
        ([b"http://localhost"], True),
        ([b"http://localhost:8080"], True),
        ([b"http://example.com"], True),
        ([b"null"], True),
        ([b""], True),
        ([b"http://localhost:8081", b"http://localhost:8081"], True),
    ],
)
def test_other_origins_are_refused_everywhere(token: bytes, origins: list[bytes], refused: bool) -> None:
    """An Origin other than the one that was asked is refused on every path, with or without a token."""
    headers = [LOCAL, (b"authorization", b"Bearer secret"), *((b"origin", origin) for origin in origins)]
    for path in ("/livez", "/metrics"):
        assert code("GET", path, *headers, token=token) == ("forbidden" if refused else None)


@pytest.mark.parametrize(
    ("content_type", "refused"),
    [
        (b"application/json", False),
        (b"Application/JSON ; charset=utf-8", False),
        (b"text/plain", True),
        (b"application/x-www-form-urlencoded", True),
        (b"application/jsonx", True),
        (None, True),
    ],
)
def test_a_post_must_be_json(content_type: bytes | None, refused: bool) -> None:
    """A POST has the one type that a form of another page cannot send."""
    headers = [LOCAL] if content_type is None else [LOCAL, (b"content-type", content_type)]
    assert code("POST", "/requeue", *headers) == ("unsupported_media_type" if refused else None)
    assert code("GET", "/dead", *headers) is None


def test_the_token_is_looked_at_first() -> None:
    """Who has no token learns nothing about the rest of the request."""
    assert code("POST", "/requeue", (b"host", b"x"), (b"origin", b"http://y"), token=b"s") == "unauthorized"
