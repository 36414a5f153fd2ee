"""Reading a store beside a process with the same number, in another container.

LMDB knows its readers by their process number, locks a byte of lock.mdb for each, and has only one of a number. The
numbers of containers are independent of one another, so two processes that share a store may have the same.
"""

import os
import signal
import sys
from collections.abc import Callable

from storage.errors import ProcessNumberTaken

NUMBERS_MAX = 32
"""How many are tried: each is another one, and a machine has few processes that read."""


def with_a_free_number(run: Callable[[], int]) -> int:
    """Run it and return its exit code; in a forked child, which has another number, while this one's is taken.

    Call while nothing else goes on in this process. Raises ProcessNumberTaken if all are, and what `run` raises.
    """
    for _ in range(NUMBERS_MAX - 1):
        try:
            return run()
        except ProcessNumberTaken:
            sys.stdout.flush()
            child = os.fork()
            if child:
                return _end_of(child)
    return run()


def _end_of(child: int) -> int:
    """Wait for the child and end as it does."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code
