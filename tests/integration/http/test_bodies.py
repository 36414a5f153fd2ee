"""Bodies: read when the gate is open, counted as they grow, discarded when they are not wanted."""

from collections.abc import Callable

import pytest
import trio

from server.http.answer import Answer
from server.http.frontend import LINGER_SECONDS
from tests.integration.http.conftest import Linger
from tests.support.client import connected, request
from tests.support.http_server import ACCEPTED, INGEST, TOKEN, FakeGate, SomeLimits, admin_like_app, serving
from tests.support.waiting import HANG_SECONDS

CHUNKED = "Transfer-Encoding: chunked"
EXPECT = "Expect: 100-continue"


async def test_a_chunked_body_arrives_whole() -> None:
    """A chunked body arrives whole, its extensions and trailers ignored, and the connection goes on."""
    async with serving() as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, TOKEN, CHUNKED))
        await raw.send(b'1;a="b"\r\n{\r\n00001\r\n}\r\n0;x\r\nX-Trailer: y\r\n\r\n' + request())
        assert [(await raw.reply()).status for _ in range(2)] == [200, 200]
        assert (server.gate.bodies, server.gate.heads[0].content_length) == ([b"{}"], None)


async def test_tiny_chunks_leave_time_for_others() -> None:
    """A body of very many chunks of a byte is counted in small portions, between which others are served."""
    async with serving(gate=FakeGate(bytes_max=10_000)) as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, TOKEN, CHUNKED) + b"1\r\nx\r\n" * 9_000 + b"0\r\n\r\n")
        assert (await raw.reply()).status == 200
        assert server.gate.bodies == [b"x" * 9_000]
        assert max(server.gate.grown) <= 256


async def test_chunked_body_is_counted_as_it_grows() -> None:
    """A chunked body over its limit is refused while it still comes, having been counted piece by piece."""
    async with serving(gate=FakeGate(bytes_max=1000)) as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, TOKEN, CHUNKED))
        for _ in range(11):
            await raw.send(b"64\r\n" + b"x" * 100 + b"\r\n")
        reply = await raw.reply()
        assert (reply.status, reply.code, reply.headers["connection"]) == (413, "too_large", "close")
        assert 1000 < sum(server.gate.grown) <= 1100
        assert (server.gate.bodies, server.gate.closed) == ([], 1)


async def test_a_refused_body_is_never_held() -> None:
    """Ten megabytes behind a refused chunk are discarded, and the answer can still be read."""
    async with serving(gate=FakeGate(bytes_max=10)) as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, TOKEN, CHUNKED))
        await raw.send(b"a00000\r\n" + b"x" * 0xA00000 + b"\r\n0\r\n\r\n")
        await raw.send_eof()
        [reply] = await raw.replies_until_close()
        assert reply.status == 413
        assert sum(server.gate.grown) <= 65536


@pytest.mark.parametrize("headers", [(), (TOKEN,)])
async def test_early_answer_can_be_read(headers: tuple[str, ...]) -> None:
    """An answer given before the body says that it closes, and survives the body that the client goes on sending."""
    async with serving(gate=FakeGate(bytes_max=10)) as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, *headers, "Content-Length: 5000000"))
        await raw.send(b"x" * 5_000_000)
        [reply] = await raw.replies_until_close()
        assert reply.status == (413 if headers else 401)
        assert reply.headers["connection"] == "close"
        assert server.gate.grown == []


async def test_early_answer_closes_in_bounded_time(linger: Linger) -> None:
    """A refused client that goes on sending for ever is cut off when the time for discarding is up."""
    assert LINGER_SECONDS == 2
    linger(0.3)
    async with serving() as server, connected(server.port) as raw:
        started = trio.current_time()
        await raw.send(request("POST", INGEST, "Content-Length: 999999999999"))
        await raw.send_until_reset(b"x" * 10000)
        assert trio.current_time() - started > 0.3


async def test_last_answer_says_that_it_is_the_last() -> None:
    """The client sees the end of a closing connection at once, however long we would go on discarding."""
    async with serving() as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, "Content-Length: 10"))
        assert [reply.status for reply in await raw.replies_until_close()] == [401]


async def test_a_silent_refused_client_is_closed(linger: Linger) -> None:
    """A refused client that neither sends nor closes is closed all the same: it does not hold up the end of serving."""
    linger(0.3)
    async with serving() as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, "Content-Length: 10"))
        assert [reply.status for reply in await raw.replies_until_close()] == [401]
        server.stop.set()
        with trio.fail_after(HANG_SECONDS):
            await server.stopped.wait()


async def test_body_behind_a_refusal_is_no_request() -> None:
    """What follows a refused head is its body, and never taken for the next request."""
    smuggled = request("POST", INGEST, TOKEN, body=b"{}")
    async with serving() as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, body=smuggled))
        assert [reply.status for reply in await raw.replies_until_close()] == [401]
        assert len(server.gate.heads) == 1


async def test_a_wanted_body_is_invited() -> None:
    """A client that waits for an invitation gets one, then its answer, and can send another request."""
    async with serving() as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, TOKEN, EXPECT, "Content-Length: 2"))
        assert (await raw.reply()).status == 100
        await raw.send(b"{}")
        assert (await raw.reply()).status == 200
        await raw.send(request())
        assert (await raw.reply()).status == 200


@pytest.mark.parametrize(
    ("headers", "status"), [(("Content-Length: 2",), 401), ((TOKEN, "Content-Length: 5000"), 413), ((CHUNKED,), 401)]
)
async def test_nothing_is_invited_that_is_refused(headers: tuple[str, ...], status: int) -> None:
    """A client that waits for an invitation and is refused at the head gets its refusal alone."""
    async with serving() as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, EXPECT, *headers))
        await raw.send_eof()
        assert [reply.status for reply in await raw.replies_until_close()] == [status]


@pytest.mark.parametrize(
    "data",
    [
        request("POST", INGEST, TOKEN, EXPECT, body=b"{}"),
        request("POST", INGEST, TOKEN, EXPECT, body=b"{}", version="1.0"),
    ],
)
async def test_no_invitation_where_none_is_needed(data: bytes) -> None:
    """Who sends the body unasked, or speaks HTTP/1.0, gets no 100."""
    async with serving() as server, connected(server.port) as raw:
        await raw.send(data)
        await raw.send_eof()
        assert [reply.status for reply in await raw.replies_until_close()] == [200]


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Fifty requests in one piece are served one after the other, each with its own body."""
    gate = FakeGate(on_submit=lambda body, answer: answer(Answer(200, body)))
    bodies = [b"%d" % index for index in range(50)]
    async with serving(gate=gate) as server, connected(server.port) as raw:
        await raw.send(b"".join(request("POST", INGEST, TOKEN, body=body) for body in bodies))
        await raw.send_eof()
        assert [reply.body for reply in await raw.replies_until_close()] == bodies


async def test_half_closed_client_gets_its_answer() -> None:
    """A client that has closed its sending half before the commit still gets its answer after it."""
    submitted = trio.Event()
    callbacks: list[Callable[[Answer], None]] = []

    def hold(_body: bytes, answer: Callable[[Answer], None]) -> None:
        callbacks.append(answer)
        submitted.set()

    async with serving(gate=FakeGate(on_submit=hold)) as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, TOKEN, body=b"{}"))
        await raw.send_eof()
        with trio.fail_after(HANG_SECONDS):
            await submitted.wait()
        callbacks[0](ACCEPTED)
        assert [reply.status for reply in await raw.replies_until_close()] == [200]


async def test_half_closed_in_the_body() -> None:
    """A client that closes its sending half within its body is told that the body is incomplete."""
    async with serving() as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, TOKEN, "Content-Length: 10") + b"half")
        await raw.send_eof()
        [reply] = await raw.replies_until_close()
        assert (reply.status, reply.code) == (400, "invalid_request")
        assert (server.gate.bodies, server.gate.closed) == ([], 1)


async def test_vanished_client_gives_its_reservation_back() -> None:
    """A client that resets its connection within the body leaves nothing reserved, and is nobody's error."""
    gate = FakeGate()
    async with serving(gate=gate) as server:
        async with connected(server.port) as raw:
            await raw.send(request("POST", INGEST, TOKEN, EXPECT, "Content-Length: 10"))
            assert (await raw.reply()).status == 100
            raw.reset_on_close()
        server.stop.set()
        with trio.fail_after(HANG_SECONDS):
            await server.stopped.wait()
        assert (gate.bodies, gate.closed, server.errors) == ([], 1, [])


async def test_vanished_client_does_not_undo_what_was_submitted() -> None:
    """A client that resets its connection after its body changes nothing: the request goes on to its end."""
    callbacks: list[Callable[[Answer], None]] = []
    submitted = trio.Event()

    def hold(_body: bytes, answer: Callable[[Answer], None]) -> None:
        callbacks.append(answer)
        submitted.set()

    gate = FakeGate(on_submit=hold)
    async with serving(gate=gate) as server:
        async with connected(server.port) as raw:
            await raw.send(request("POST", INGEST, TOKEN, body=b"{}"))
            with trio.fail_after(HANG_SECONDS):
                await submitted.wait()
            raw.reset_on_close()
        assert gate.closed == 0
        callbacks[0](ACCEPTED)
    assert (gate.closed, server.observed, server.errors) == (1, [(200, "")], [])


async def test_early_answer_to_a_flood() -> None:
    """An application that answers without reading a long body neither hangs nor holds it (regression: ten messages)."""
    async with serving(SomeLimits(), build=admin_like_app) as server, connected(server.port) as raw:
        await raw.send(request("POST", "/livez", CHUNKED))
        await raw.send(b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
        await raw.send_eof()
        [reply] = await raw.replies_until_close()
        assert (reply.status, reply.headers["connection"]) == (405, "close")
