"""The pace of work that no sender waits for: in steps, each begun while no delivery waits, with rests between them."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

from server.base.worker import Worker

T = TypeVar("T")


class Pace:
    """Steps of such work by a worker that does nothing else, whoever asks for them. Made inside `trio.run`."""

    def __init__(
        self,
        worker: Worker,
        idle: Callable[[], Awaitable[None]],
        *,
        idle_seconds_max: float,
        rests: float = 0.0,
        rest_seconds_max: float = 0.0,
    ) -> None:
        """`idle` returns when no delivery waits for its answer; a step waits for that so long at most. After it, no
        other begins for `rests` times as long as it took, at most `rest_seconds_max`."""
        self._worker = worker
        self._idle = idle
        self._idle_seconds_max = idle_seconds_max
        self._rests, self._rest_seconds_max = rests, rest_seconds_max
        self._turn = trio.Lock()
        self._began = self._rests_until = 0.0

    async def step(self, function: Callable[..., T], *args: Any) -> T:
        """Run `function(*args)` when it is time; return or raise what it does."""
        async with self._turn:
            if self._worker.busy:  # with a step whose caller has left
                await self._worker.idle()
                self._rest()
            await trio.sleep_until(self._rests_until)
            with trio.move_on_after(self._idle_seconds_max):
                await self._idle()
            self._began = trio.current_time()
            try:
                return await self._worker.run(function, *args)
            finally:
                self._rest()

    def _rest(self) -> None:
        ended = trio.current_time()
        self._rests_until = ended + min(self._rests * (ended - self._began), self._rest_seconds_max)
