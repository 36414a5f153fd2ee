"""Wakes one task."""

import trio


class Wakeup:
    """A flag that one task waits for; tasks and callbacks of its thread set it as often as they like.

    A notification while nobody waits is kept for the next `wait`, so a task that looks for work, finds none and then
    waits misses nothing. If many tasks wait, use `trio.lowlevel.ParkingLot`; for what happens once, `trio.Event`.
    """

    __slots__ = ("_task", "is_notified")

    def __init__(self) -> None:
        self.is_notified = False
        """Whether `wait` would return at once."""
        self._task: trio.lowlevel.Task | None = None

    def notify(self) -> None:
        """Wake the waiting task, or let its next `wait` return at once."""
        self.is_notified = True
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    def clear(self) -> None:
        """Discard a notification; call when the work that it announced is being done."""
        self.is_notified = False

    async def wait(self) -> None:
        """Return when notified, and clear the flag. Always a checkpoint; if cancelled, the flag stays as it is."""
        if self.is_notified:
            await trio.lowlevel.checkpoint()
        else:
            if self._task is not None:
                raise RuntimeError("another task is waiting already")
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        self.is_notified = False

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
