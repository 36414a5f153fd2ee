"""Ctrl-C between two steps of a command: what is begun is finished, so that the place to go on from is exact."""

import signal
import threading
from types import FrameType
from typing import Any


class Interruptible:
    """A context manager in which the first Ctrl-C is a request; the second interrupts at once, as everywhere."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._before: Any = signal.SIG_IGN

    def __enter__(self) -> "Interruptible":
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    @property
    def is_interrupted(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._asked.is_set()

    def wait(self, seconds: float) -> None:
        """Wait for so long, or until Ctrl-C."""
        self._asked.wait(seconds)

    def _ask(self, _: int, __: FrameType | None) -> None:
        self._asked.set()
        signal.signal(signal.SIGINT, self._before)
