"""What a connection leaves behind in this process: nothing that waits for the collector, which comes seldom."""

import gc
from collections.abc import Iterator

import pytest

from server.http.asgi.connection import Connection
from server.http.asgi.hypercorn import Exchange
from tests.support import config
from tests.support.client import ask, request
from tests.support.http_server import INGEST, TOKEN, serving
from tests.support.waiting import until

REQUESTS = {
    "accepted": request("POST", INGEST, TOKEN, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n",
    "unauthorized": request("POST", INGEST, body=b"{}"),
    "health": request(),
    "no-route": request("POST", "/nowhere", body=b"{}"),
    "no-method": request("GET", INGEST),
}


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("name", REQUESTS)
async def test_a_connection_leaves_no_cycle(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a request to the complete front end is freed when its connection ends, refused ones too."""
    monkeypatch.setattr(config, "fast_lane", False)
    async with serving() as server:
        for _ in range(3):
            await ask(server.port, REQUESTS[name])
        await until(lambda: not left())


def left() -> list[object]:
    return [each for each in gc.get_objects() if isinstance(each, Exchange | Connection)]
