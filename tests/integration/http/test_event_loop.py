"""The fast lane's own promises: nobody is forgotten, nobody takes more than one turn in a turn."""

from collections.abc import Callable

import trio
import trio.testing

from server.http.answer import Answer
from server.http.fast.socket import BUFFER_BYTES_MAX
from tests.integration.http.conftest import Linger
from tests.support.client import connected, request
from tests.support.http_server import ACCEPTED, INGEST, TOKEN, FakeGate, SomeLimits, serving
from tests.support.waiting import HANG_SECONDS, until

BODY = b"x" * 900
REQUEST = request("POST", INGEST, TOKEN, f"Content-Length: {len(BODY)}") + BODY
MANY = 2 * BUFFER_BYTES_MAX // len(REQUEST)


async def test_more_is_pipelined_than_is_buffered() -> None:
    """Regression: reading stopped at the bound and never went on, though every answer left at once."""
    async with serving() as server, connected(server.port) as raw, trio.open_nursery() as nursery:
        nursery.start_soon(raw.send, REQUEST * MANY)
        for _ in range(MANY):
            assert (await raw.reply()).status == 200
        assert len(server.gate.bodies) == MANY


async def test_pipelining_beyond_the_buffer_outlasts_a_commit() -> None:
    """What was left unread is read once the answer has left, a body that is cut by the bound included."""
    submitted = trio.Event()
    callbacks: list[Callable[[Answer], None]] = []

    def hold_the_first(_body: bytes, answer: Callable[[Answer], None]) -> None:
        if callbacks:
            answer(ACCEPTED)
        else:
            callbacks.append(answer)
            submitted.set()

    gate = FakeGate(on_submit=hold_the_first)
    async with serving(gate=gate) as server, connected(server.port) as raw, trio.open_nursery() as nursery:
        nursery.start_soon(raw.send, REQUEST * MANY)
        with trio.fail_after(HANG_SECONDS):
            await submitted.wait()
        callbacks[0](ACCEPTED)
        for _ in range(MANY):
            assert (await raw.reply()).status == 200


async def test_a_pouring_client_gets_one_turn() -> None:
    """Regression: each read of a pipelining client gave it one more turn, and its buffer no bound."""
    served: list[bytes] = []

    def note(body: bytes, answer: Callable[[Answer], None]) -> None:
        served.append(body[:1])
        answer(ACCEPTED)

    async with (
        serving(SomeLimits(), gate=FakeGate(on_submit=note)) as server,
        connected(server.port) as pouring,
        connected(server.port) as other,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(pouring.send, REQUEST * MANY)
        await until(lambda: len(served) >= 10)
        await other.send(request("POST", INGEST, TOKEN, body=b"o"))
        assert (await other.reply()).status == 200
        assert len(served) < MANY
        for _ in range(MANY):
            await pouring.reply()


async def test_a_drain_waits_for_a_slow_reader(linger: Linger) -> None:
    """Regression: an answer on its way when the drain began left its connection to the keep-alive timeout."""
    linger(0.1)
    large = Answer(200, b"y" * 8_000_000)
    gate = FakeGate(on_submit=lambda _body, answer: answer(large))
    async with serving(gate=gate) as server, connected(server.port, receive_buffer_bytes=4096) as raw:
        await raw.send(request("POST", INGEST, TOKEN, body=b"{}"))
        await until(lambda: gate.closed)
        server.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        raw.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 2**20)
        [reply] = await raw.replies_until_close()
        assert len(reply.body) == len(large.body)
        with trio.fail_after(HANG_SECONDS):
            await server.stopped.wait()
