"""A wake-up call for one task."""

import trio


class Wakeup:
    """A flag that one task waits for; tasks and callbacks of its thread raise it as often as they like.

    What is notified while nobody waits is kept for the next `wait`, so a task that looks for work, finds none and then
    waits misses nothing, whatever happened between. Where any number of tasks wait for the same thing to end, take
    `trio.lowlevel.ParkingLot`; where it happens once, `trio.Event`.
    """

    __slots__ = ("_task", "is_notified")

    def __init__(self) -> None:
        self.is_notified = False
        """`wait` would return at once."""
        self._task: trio.lowlevel.Task | None = None

    def notify(self) -> None:
        """Wake the task that waits, or let its next `wait` return at once."""
        self.is_notified = True
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    def clear(self) -> None:
        """Forget what was notified; call where all that it was about is being done."""
        self.is_notified = False

    async def wait(self) -> None:
        """Return when notified, and lower the flag. Always a checkpoint; cancelled, it leaves the flag as it is."""
        if self.is_notified:
            await trio.lowlevel.checkpoint()
        else:
            if self._task is not None:
                raise RuntimeError("another task waits already")
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._leave)
        self.is_notified = False

    def _leave(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
