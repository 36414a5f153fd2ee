"""Heavy bodies take turns, so that a small request waits for one of them and not for all that came.

A body is read in one go, on the loop: nobody is served meanwhile. So those that may take long wait here. After
PASS_SECONDS of them, at least one, whoever else is ready is served. While small requests come, heavy ones then rest for
as long as they took: a small one needs the loop twice, to be read and to be answered once it is on disk, and mostly
meets none.

Sources take turns, each with its oldest. What waits is bounded: its bytes are reserved in `in_flight_bytes_max`, and
there is one for each connection at most.
"""

from collections import deque
from collections.abc import Callable

import trio

from server.base.wakeup import Wakeup

LIGHT_BYTES_MAX = 16384
"""A body of so many bytes without an encoding is read at once, in less than a millisecond, unless it holds many
containers."""

LIGHT_CONTAINERS_MAX = 256
"""Arrays and objects in a body that is read at once: 16 KiB may hold thousands of tiny events."""

PASS_SECONDS = 0.002
"""Heavy bodies that take less are read one after the other."""

REST_SHARE = 1.0
"""How long heavy bodies rest while small requests come, by the time that they took before."""

Step = Callable[[], None]


class Turns:
    """Takes the steps that read heavy bodies; `run` does them. A step must not raise."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Step]] = {}
        """By source; the first is next."""
        self._came = Wakeup()
        self._small_came = False
        self._finished = trio.lowlevel.ParkingLot()

    def take(self, source_id: str, step: Step) -> None:
        """Do the step when it is its turn."""
        self._waiting.setdefault(source_id, deque()).append(step)
        self._came.notify()

    def small_came(self) -> None:
        """Note that a small request is being served, beside which heavy bodies rest."""
        self._small_came = True

    async def finished(self) -> None:
        """Return when nothing waits for its turn."""
        while self._waiting:
            await self._finished.park()

    async def run(self) -> None:
        """Do what waits, for ever. Ends only by cancellation."""
        while True:
            await self._came.wait()
            while self._waiting:
                seconds = self._pass()
                await _let_others_have_their_turn()
                if self._small_came:
                    self._small_came = False
                    await trio.sleep(seconds * REST_SHARE)
            self._finished.unpark_all()

    def _pass(self) -> float:
        """Do steps for PASS_SECONDS, at least one; return how long they took."""
        started = trio.current_time()
        while self._waiting:
            self._next()()
            if trio.current_time() - started >= PASS_SECONDS:
                break
        return trio.current_time() - started

    def _next(self) -> Step:
        source_id, steps = next(iter(self._waiting.items()))
        del self._waiting[source_id]
        step = steps.popleft()
        if steps:
            self._waiting[source_id] = steps  # behind the other sources
        return step


def is_light(body: bytes, content_encoding: bytes | None) -> bool:
    """Return whether a body is read so quickly that it need not wait for a turn."""
    if len(body) > LIGHT_BYTES_MAX or content_encoding is not None:
        return False
    return body.count(b"{") + body.count(b"[") <= LIGHT_CONTAINERS_MAX


async def _let_others_have_their_turn() -> None:
    """Twice: trio finds out which descriptors are ready, and then runs who waits for them."""
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
