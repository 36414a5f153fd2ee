"""What was forgotten is overwritten in all files, once no record holds it any more, beside all that goes on.

Guarantees
- That it is owed is in the store from the first rewriting on, until all of it is overwritten: the next start goes on.
- It has a thread of its own, and nobody waits for it but who asks; a drain ends it.
- While a transaction of any process still sees what was there it waits, and says so.
"""

from collections.abc import Callable, Mapping

import trio

from server.base import log
from server.base.wakeup import Wakeup
from server.base.worker import Worker
from server.flow.acknowledger import Acknowledger
from server.flow.committer import Committer
from server.intake.events import rfc3339
from storage.errors import StoreError
from storage.forget.overwrite import Free, clear_holes, flush_pages, may_overwrite
from storage.lmdb_store.environment import Store
from storage.read.snapshot import Snapshots
from storage.rewrite import Erasure, Rewrite
from storage.statuses import Totals

POLL_SECONDS = 0.1
"""How often it is looked whether a transaction still sees what was there."""
TELL_SECONDS = 10.0
"""So long that may last before it is told."""
RETRY_SECONDS = 10.0
"""Between two tries, if one failed."""
OWED_MS_MAX = 60_000
"""What is owed for longer is warned of: what still reads what was there, as a look-up, has mostly ended by then."""
UNDER_WAY = "the server is at it"
SEEN = "a process that reads the store still sees what was there: end its scan or its backup"


class Overwriting:
    """Of one server. `run` is its task. Made inside `trio.run`."""

    def __init__(
        self,
        committer: Committer,
        acknowledger: Acknowledger,
        store: Store,
        *,
        counted: Callable[[Mapping[str, Totals]], None],
        now_ms: Callable[[], int],
    ) -> None:
        """`counted` gets the totals that a step changed."""
        self._committer = committer
        self._acknowledger = acknowledger
        self._store = store
        self._counted = counted
        self._now_ms = now_ms
        self._worker = Worker("overwrite")  # a large store takes it minutes, which no command waits for
        self._step = trio.Lock()
        """Held while a step is written: the committer takes one at a time. The note goes only if none came since."""
        self._at_work = trio.Lock()
        """Held while it is overwritten."""
        self._stopping = False
        self._log = log.get("tidegate.forget")
        self._wakeup = Wakeup()
        self.asked = 0
        """How many rewritings there were."""
        self._done = 0
        """How many of them are overwritten."""
        self._progress = trio.Event()
        self._why = UNDER_WAY
        """It is not overwritten yet."""
        with Snapshots(store).take() as snapshot:
            self._owed_since_ms = snapshot.erasure_since_ms()
        if self._owed_since_ms:
            self._ask()

    def warning(self) -> str:
        """Return what there is to warn of: that something is not overwritten for long; "" if not so."""
        since_ms = self._owed_since_ms
        if not since_ms or self._now_ms() - since_ms <= OWED_MS_MAX:
            return ""
        return f"what was forgotten at {rfc3339(since_ms)} is not overwritten yet: {self._why}"

    async def rewrite(self, rewrite: Rewrite) -> bool:
        """Have records written without what is forgotten, and what they held overwritten; return whether the former is
        done."""
        async with self._step:
            if await self._committer.erase(Erasure(rewrite), self._counted):
                self._ask()
                return True
        return False

    def is_done(self, asked: int) -> bool:
        """Return whether so many rewritings are overwritten."""
        return self._done >= asked

    async def done(self, asked: int) -> None:
        """Return when so many rewritings are overwritten."""
        while not self.is_done(asked):
            await self._progress.wait()

    def _ask(self) -> None:
        self.asked += 1
        self._owed_since_ms = self._owed_since_ms or self._now_ms()
        self._wakeup.notify()

    async def run(self) -> None:
        """Overwrite what is to be, until `stop`. Ends otherwise by cancellation, or by an error that is our bug."""
        while True:
            await self._wakeup.wait()
            asked = self.asked
            try:
                async with self._at_work:
                    if not await self._overwrite():
                        raise StoreError("it cannot be written now")
            except (StoreError, OSError) as error:
                if self._stopping:
                    return
                self._log.warning("what was forgotten is not overwritten yet", error=str(error))
                self._why = str(error)
                with trio.move_on_after(RETRY_SECONDS):
                    await trio.sleep_forever()
                self._wakeup.notify()
                continue
            self._done = asked
            self._progress.set()
            self._progress = trio.Event()
            if self._done == self.asked:
                self._owed_since_ms = 0
                self._log.info("what was forgotten is overwritten")

    async def stop(self) -> None:
        """Begin no other step; return when nothing is in flight. What is owed is for the next start."""
        self._stopping = True
        async with self._at_work:
            await self._worker.idle()

    def _go_on(self) -> None:
        if self._stopping:
            raise StoreError("the server ends")

    async def _overwrite(self) -> bool:
        """Overwrite it in all files; return whether that succeeded. Raises StoreError, OSError."""
        self._go_on()
        asked = self.asked
        if not await self._acknowledger.overwrite_journal():
            return False
        await self._worker.run(self._store.renew)
        free = await self._worker.run(clear_holes, self._store, self._go_on)
        await self._not_seen(free)
        for stretch in free.stretches():
            self._go_on()
            async with self._step:
                if not await self._committer.erase(Erasure(overwrite=stretch), self._counted):
                    return False
        await self._worker.run(flush_pages, self._store)
        async with self._step:
            return asked != self.asked or await self._committer.erase(Erasure(erased=True), self._counted)

    async def _not_seen(self, free: Free) -> None:
        """Return when no transaction sees any more what was there."""
        tell_at = trio.current_time() + TELL_SECONDS
        while True:
            self._go_on()
            await self._committer.write_time()
            if await self._worker.run(may_overwrite, self._store, free):
                self._why = UNDER_WAY
                return
            self._why = SEEN
            if trio.current_time() >= tell_at:
                self._log.warning("a process that reads the store keeps what was forgotten from being overwritten")
                tell_at += 60 * TELL_SECONDS
            await trio.sleep(POLL_SECONDS)
