"""The entry point of the `tidegate` command: handles signals until the command does so itself, and ends the process.

Nothing else is imported before, since imports are most of a server's start. Then the package `storage` that lies beside
this one is imported, whatever else has its name on Python's path: all other modules are found through these two.

Python waits at its exit for the threads that are no daemons: one that a processor's module left would keep `check`, and
a start that fails, for ever.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from server.base.terminal import Terminal, early_hangups
from server.cli.exit_codes import INTERRUPTED, MISTAKE

LEAVE_SECONDS = 2.0
"""How long a drained server's processors may take for what they registered for the exit, and for their threads."""


def main() -> int:
    """Run the command that the arguments name, and end the process with its exit code.

    Returns only after a drain, so that Python's own exit runs what processors registered for it, within LEAVE_SECONDS.
    """
    _open_standard_files()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it was left ignored, no child can be waited for
    is_server = _serves(sys.argv[1:])
    if is_server:
        _exit_on_early_signals()
        atexit.register(_ignore_late_signals)  # before all others: it runs after them
        if os.getpid() == 1:
            from server.cli.init import go_on_as_child  # noqa: PLC0415 - see above

            go_on_as_child()
    _spare_threads(for_long=is_server)
    code = _run()
    if not is_server or code:
        _leave(code)
    timer = threading.Timer(LEAVE_SECONDS, _leave, [code])
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # no thread is to be had
        _leave(code)
    return code


def _serves(arguments: Sequence[str]) -> bool:
    """Return whether these words start a server, rather than print its help."""
    words = iter(arguments)
    for word in words:
        if word == "--config":
            next(words, None)
        elif not word.startswith("-"):
            return word == "serve" and not {"-h", "--help", "--version"} & {*arguments}
    return False


def _run() -> int:
    stranger = _import_storage()
    if stranger is not None:
        sys.stderr.write(f"tidegate: {stranger} hides Tidegate's own module storage: rename it\n")
        return MISTAKE
    try:
        from server.cli.main import main as run  # noqa: PLC0415 - see above

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED
    except MemoryError:
        sys.exit("tidegate: there is not enough memory (ulimit -v, or a limit of the container)")


def _leave(code: int) -> None:
    """End the process at once, with all that was said."""
    from server.base.streams import settle  # noqa: PLC0415 - see above

    settle()
    os._exit(code)


def _open_standard_files() -> None:
    """Open on /dev/null what is closed of stdin, stdout and stderr: else the store's file could get its number."""
    for file, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(file)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number, which is this one
            stream = open(file, "r" if file == 0 else "w", closefd=False)  # noqa: SIM115 - for as long as the process
            setattr(sys, name, stream)


def _import_storage() -> str | None:
    """Import Tidegate's; return the file of another one that was imported before, as by a `sitecustomize`."""
    beside = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - quick
    sys.path.insert(0, beside)
    import storage  # noqa: PLC0415 - from there

    sys.path.remove(beside)
    is_ours = (storage.__file__ or "").startswith(f"{beside}/")
    return None if is_ours else str(storage.__file__)


def _spare_threads(*, for_long: bool) -> None:
    """Let numpy's linear algebra, which only a processor would use, have one thread; in a process that runs for long,
    not in its children.

    It takes one for each core, and where one cannot be had it sends SIGINT: a start would end with exit 0.
    """
    if "OPENBLAS_NUM_THREADS" in os.environ:
        return
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    if for_long:
        import numpy  # noqa: F401, PLC0415 - reads it

        del os.environ["OPENBLAS_NUM_THREADS"]


def _exit_on_early_signals() -> None:
    """Let SIGTERM, SIGINT and the end of its terminal end a starting server, which has no work in progress.

    Another SIGHUP is heard once the server can reload; where it was ignored, as under `nohup`, it stays so, which tells
    `Terminal`.
    """
    terminal = Terminal()

    def hang_up(number: int, frame: FrameType | None) -> None:
        if terminal.is_gone:
            _end(number, frame)
        early_hangups.append(number)

    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, hang_up)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _ignore_late_signals() -> None:
    """Let no signal end the process any more by what it does by default: the interpreter gives up its handlers next."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    """Exit at once, as in a crash; the next start recovers."""
    os._exit(0)
