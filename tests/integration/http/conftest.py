"""What the tests of HTTP share: a server in this process gives up on nobody, except where a test is about that."""

from collections.abc import Callable

import pytest

from server.http.asgi import connection
from server.http.fast import socket
from tests.support.waiting import NEVER_SECONDS

Linger = Callable[[float], None]


@pytest.fixture(autouse=True)
def linger(monkeypatch: pytest.MonkeyPatch) -> Linger:
    """Sets for how long either front end discards what a refused client still sends."""

    def set_seconds(seconds: float) -> None:
        for module in (connection, socket):
            monkeypatch.setattr(module, "LINGER_SECONDS", seconds)

    set_seconds(NEVER_SECONDS)
    monkeypatch.setattr(connection, "TURN_AWAY_SECONDS", NEVER_SECONDS)
    return set_seconds
