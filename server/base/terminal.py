"""The controlling terminal of this process, whose end ends it."""

import errno
import os
import signal

early_hangups: list[int] = []
"""A SIGHUP that came before the server could reload: the file may have changed since it was read."""


class Terminal:
    """The terminal at the start, if there was one and its end is to end this process: not so under `nohup`."""

    def __init__(self) -> None:
        self._was_in_front = False
        self.ends_us = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and self._look() == 0

    @property
    def is_gone(self) -> bool:
        """Whether it was closed since. A process that never had one, as a service, has not lost it."""
        return self.ends_us and self._look() == errno.ENXIO

    @property
    def is_gone_from_front(self) -> bool:
        """The same, and this process was in its foreground when it was last looked at."""
        return self.is_gone and self._was_in_front

    def _look(self) -> int:
        """Return why the terminal cannot be opened, 0 if it can; note whether this process is in its foreground."""
        try:
            file = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            return error.errno or errno.EIO
        try:
            self._was_in_front = os.tcgetpgrp(file) == os.getpgrp()
        except OSError as error:  # it was closed just now
            return error.errno or errno.EIO
        finally:
            os.close(file)
        return 0
