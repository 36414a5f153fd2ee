"""Group commit for the asyncio peers: what came during the last commit goes into the next one, together."""

import asyncio

from bench.peers.same_job import Archive, Delivery


class GroupCommit:
    """To be built on a running loop."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._waiting: list[tuple[Delivery, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def durable(self, delivery: Delivery) -> None:
        """Returns when the delivery is on disk."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((delivery, future))
        self._wake.set()
        await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            group, self._waiting = self._waiting, []
            error: Exception | None = None
            try:
                await loop.run_in_executor(self._archive.thread, self._archive.commit, [each for each, _ in group])
            except Exception as caught:  # noqa: BLE001 - each sender gets it as its answer
                error = caught
            for _, future in group:
                if future.done():
                    continue
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
