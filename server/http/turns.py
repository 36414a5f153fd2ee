"""Heavy bodies take turns, so that a small request waits for one of them at most, and not for all that came.

A body is read in one go, on the loop: nobody is served meanwhile. So those that may take long wait here. After
PASS_SECONDS of them, at least one, whoever else is ready is served. While small requests come, no heavy body is read
before the last ones are on disk, and then they rest for half as long again as that took: so most of the time belongs
to the small ones, which find neither the loop, nor the writer, nor the disk busy with heavy ones.

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

REST_SHARE = 1.5
"""How long heavy bodies rest while small requests come, by the time that the last ones took until they were on disk.
With 1 the median of the small ones is where those that met a body begin: on a host whose quiet median was 0.6 ms it was
3.4 ms beside 8 connections of full batches, with 1.5 it was 1.4, and the heavy ones came to 14 % less."""

REST_SECONDS_MAX = 1.0
"""A disk, or the whole machine, that stood still for a minute is no reason to rest for another."""

Step = Callable[[], None]


class Turns:
    """Takes the steps that read heavy bodies; `run` does them. A step must not raise."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Step]] = {}
        """By source; the first is next."""
        self._came = Wakeup()
        self._small_came = False
        self._unanswered = 0
        """Steps whose turn has come, until their answers."""
        self._ended = Wakeup()

    def take(self, source_id: str, step: Step) -> None:
        """Do the step when it is its turn."""
        self._waiting.setdefault(source_id, deque()).append(step)
        self._came.notify()

    def small_came(self) -> None:
        """Note that a small request is being served, beside which heavy bodies rest."""
        self._small_came = True

    def answered(self) -> None:
        """Note that one of the heavy requests has its answer."""
        self._unanswered -= 1
        self._ended.notify()

    async def run(self) -> None:
        """Do what waits, for ever. Ends only by cancellation."""
        while True:
            await self._came.wait()
            while self._waiting:
                started = trio.current_time()
                self._pass(started + PASS_SECONDS)
                await _let_others_have_their_turn()
                if self._small_came:
                    await self._rest(started)

    def _pass(self, end: float) -> None:
        """Do steps until then, at least one."""
        while self._waiting:
            self._unanswered += 1
            self._next()()
            if trio.current_time() >= end:
                break

    async def _rest(self, started: float) -> None:
        """Wait until what was read has its answers, and then for a share of that time, at most REST_SECONDS_MAX."""
        while self._unanswered:
            await self._ended.wait()
        self._small_came = False
        await trio.sleep(min((trio.current_time() - started) * REST_SHARE, REST_SECONDS_MAX))

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
