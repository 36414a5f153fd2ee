"""What real clients raise when a server is away, and when it only says no, on real sockets."""

import gzip
import re
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import botocore.session
import httpx2
import psycopg
import pytest
import redis
import requests
from botocore.config import Config

from server.base.worker import Worker
from server.flow.processor import BatchFailed, Processor
from tests.support.misbehaving import Say, misbehaving, refusing, untrusted
from tests.support.store import unrecorded_hand
from tests.support.waiting import HANG_SECONDS

SHORT_SECONDS = 0.2
"""The client's own timeout for a server that hangs."""

Client = Callable[[str, float], Awaitable[None] | None]


def by_urllib(url: str, seconds: float) -> None:
    with urllib.request.urlopen(url, timeout=seconds) as response:  # noqa: S310  # of a server of our own
        body = response.read()
        if response.headers["content-encoding"] == "gzip":
            gzip.decompress(body)


def by_requests(url: str, seconds: float) -> None:
    with requests.Session() as session:
        session.get(url, timeout=seconds).raise_for_status()


def by_httpx2(url: str, seconds: float) -> None:
    with httpx2.Client(timeout=seconds) as client:
        client.get(url).raise_for_status()


async def by_async_httpx2(url: str, seconds: float) -> None:
    async with httpx2.AsyncClient(timeout=seconds) as client:
        (await client.get(url)).raise_for_status()


def by_botocore(url: str, seconds: float) -> None:
    config = Config(connect_timeout=seconds, read_timeout=seconds, retries={"total_max_attempts": 1})
    with closing(
        botocore.session.Session().create_client(
            "polly",
            region_name="nowhere",
            endpoint_url=url,
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=config,
        )
    ) as client:
        client.describe_voices()


HTTP_CLIENTS: dict[str, Client] = {
    "urllib": by_urllib,
    "requests": by_requests,
    "httpx2": by_httpx2,
    "httpx2 on trio": by_async_httpx2,
    "botocore": by_botocore,
}


def by_redis(url: str, seconds: float) -> None:
    with redis.Redis.from_url(url, socket_timeout=seconds, protocol=2, retry=None, password="any") as client:
        client.set("a", "b")


def by_psycopg(url: str, seconds: float) -> None:
    seconds = max(2, seconds)  # libpq's least
    with psycopg.connect(f"{url}/any?sslmode=disable&gssencmode=disable&connect_timeout={seconds:g}", user="any") as to:
        to.execute("SELECT 1")


async def is_outage(call: Client, url: str, seconds: float = HANG_SECONDS) -> bool:
    """Whether a processor that calls the server meets an outage; it must fail."""

    def function(events: list[Any]) -> None:
        call(url, seconds)

    async def asynchronous(events: list[Any]) -> None:
        await by_async_httpx2(url, seconds)

    processor = Processor(asynchronous if call is by_async_httpx2 else function, Worker("test"), unrecorded_hand())
    with pytest.raises(BatchFailed) as caught:
        await processor([{}], [1], HANG_SECONDS)
    return caught.value.outage


def http(status: int, headers: str = "", body: bytes = b"") -> Say:
    length = "" if "content-length" in headers else f"content-length: {len(body)}\r\n"
    return lambda _: (f"HTTP/1.1 {status} Any\r\n{length}{headers}\r\n".encode() + body, True)


def hanging(_: bytes) -> tuple[bytes, bool]:
    return b"", False


def dropping(_: bytes) -> tuple[bytes, bool]:
    return b"", True


BROKEN_OFF = http(200, "content-length: 100\r\n", b"half")
NO_GZIP = http(200, "content-encoding: gzip\r\n", b"no gzip")


@pytest.fixture(autouse=True)
def _straight(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of this machine between a client and the server."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize("client", HTTP_CLIENTS)
async def test_http_clients_tell_that_it_is_away(client: str) -> None:
    """Refused, closed without an answer or in the middle of one, hanging until the client gives up, and 503."""
    call = HTTP_CLIENTS[client]
    assert await is_outage(call, f"http://127.0.0.1:{refusing()}")
    answers = [dropping, http(503), http(429)] + [BROKEN_OFF] * (client != "botocore")  # which does not look
    for say in answers:
        with misbehaving(say) as port:
            assert await is_outage(call, f"http://127.0.0.1:{port}")
    with misbehaving(hanging) as port:
        assert await is_outage(call, f"http://127.0.0.1:{port}", SHORT_SECONDS)


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # httpx2 leaves one where it cannot decode
@pytest.mark.parametrize("client", HTTP_CLIENTS)
async def test_http_clients_tell_a_refusal(client: str, tmp_path: Path) -> None:
    """An answer that says no, one that cannot be decoded, and a certificate that nobody signed are no outages."""
    call = HTTP_CLIENTS[client]
    for say in [http(422), http(401)] + [NO_GZIP] * (client != "botocore"):  # which asks for none
        with misbehaving(say) as port:
            assert not await is_outage(call, f"http://127.0.0.1:{port}")
    with misbehaving(http(200), tls=untrusted(tmp_path)) as port:
        assert not await is_outage(call, f"https://127.0.0.1:{port}")


def redis_error(words: str) -> Say:
    """For each command in the message."""
    return lambda received: (f"-{words}\r\n".encode() * len(re.findall(rb"(?m)^\*", received)), False)


async def test_redis_tells_that_it_is_away() -> None:
    """Refused, closed, hanging, starting, and a replica after a failover."""
    assert await is_outage(by_redis, f"redis://127.0.0.1:{refusing()}")
    for say in (dropping, lambda _: (b"$100\r\nhalf", True), redis_error("LOADING any"), redis_error("READONLY any")):
        with misbehaving(say) as port:
            assert await is_outage(by_redis, f"redis://127.0.0.1:{port}")
    with misbehaving(hanging) as port:
        assert await is_outage(by_redis, f"redis://127.0.0.1:{port}", SHORT_SECONDS)


async def test_redis_tells_a_refusal(tmp_path: Path) -> None:
    """A wrong password, whose class is derived from that of lost connections; a wrong type; a certificate."""
    for words in ("WRONGPASS any", "NOAUTH any", "WRONGTYPE any"):
        with misbehaving(redis_error(words)) as port:
            assert not await is_outage(by_redis, f"redis://127.0.0.1:{port}")
    with misbehaving(redis_error("any"), tls=untrusted(tmp_path)) as port:
        assert not await is_outage(by_redis, f"rediss://127.0.0.1:{port}")


def postgres(answer: bytes, *, closes: bool = True) -> Say:
    """Lets the client in, and answers its queries like this."""
    let_in = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I"
    return lambda received: (let_in, False) if b"user\0" in received else (answer, closes)


def postgres_error(state: bytes) -> bytes:
    fields = b"SERROR\0VERROR\0C%b\0Mwords\0\0" % state
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields + b"Z\0\0\0\x05I"


async def test_psycopg_tells_that_it_is_away() -> None:
    """Refused, closed at the start or in the middle of an answer, hanging, and shut down."""
    assert await is_outage(by_psycopg, f"postgresql://127.0.0.1:{refusing()}")
    for say in (dropping, postgres(b""), postgres(b"T\0\0\0"), postgres(postgres_error(b"57P01"))):
        with misbehaving(say) as port:
            assert await is_outage(by_psycopg, f"postgresql://127.0.0.1:{port}")
    with misbehaving(hanging) as port:
        assert await is_outage(by_psycopg, f"postgresql://127.0.0.1:{port}", SHORT_SECONDS)


async def test_psycopg_tells_a_refusal() -> None:
    """A row that is there already, a deadlock, a table that is not there."""
    for state in (b"23505", b"40P01", b"42P01"):
        with misbehaving(postgres(postgres_error(state), closes=False)) as port:
            assert not await is_outage(by_psycopg, f"postgresql://127.0.0.1:{port}")
