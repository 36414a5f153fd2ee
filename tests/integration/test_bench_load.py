"""The load generator of the benchmarks: what it counts as its own time, and what as the server's."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import filled, load, watched
from bench.workload import SEED
from tests.support.waiting import HANG_SECONDS

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
REQUEST = load.post("source", "token", b"{}")


@contextmanager
def answering(answered: Sequence[threading.Event]) -> Iterator[int]:
    """Answer so many requests of one client, each as soon as all of it has come, and say so; give the port."""

    def serve() -> None:
        with server.accept()[0] as client:
            for said in answered:
                assert client.recv(len(REQUEST), socket.MSG_WAITALL) == REQUEST
                client.sendall(ANSWER)
                said.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield server.getsockname()[1]
        serving.join(HANG_SECONDS)


def test_a_late_generator_is_not_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an answer waits for the generator to look at it is no time of the server."""
    answered = threading.Event()
    look = load._Client.receive
    looked: list[float] = []

    def late(client: load._Client) -> int | None:
        assert answered.wait(HANG_SECONDS)
        looked.append(time.time() - client.sent)
        return look(client)

    monkeypatch.setattr(load._Client, "receive", late)
    with answering([answered]) as port:
        found = load.opened(port, iter([REQUEST]), 1, 1, 1)
    assert found.answered == 1
    assert 0 < found.served[0] < looked[0] < found.latencies[0]


def test_a_held_connection_counts_as_the_servers() -> None:
    """A request that is due while the server has every connection counts from then on: the first one's time too."""
    with answering([threading.Event(), threading.Event()]) as port:
        found = load.opened(port, iter([REQUEST] * 2), 1, 2e-6, 1e6)
    assert found.answered == 2
    assert found.served[1] > found.served[0] > 0


def test_looking_on_is_measured_by_turns(tmp_path: Path) -> None:
    """A tiny run has a turn of each kind, and those who look on did: each follows, and exports."""
    filled.fill(tmp_path / "store", 100, SEED)
    found = watched.run(tmp_path / "store", 50, 0.5, 1, ("follow", "export"), core=None)
    turns = found["p99_ms of each turn"]
    assert isinstance(turns, dict)
    assert turns.keys() == {"alone", "beside another", "watched"}
    assert all(p99 > 0 for [p99] in turns.values())
    seen = found["looked at"]
    assert isinstance(seen, dict)
    assert seen["followed_bytes"] > 0
