"""`top`: what `status` says, again and again, on the whole terminal."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

from server.cli.client import AdminClient, NoAnswer
from server.cli.output import paint
from server.cli.overview import Overview, wrong
from server.cli.panel import lines
from server.cli.scrape import FIRST_ANSWER_SECONDS, scrape
from server.cli.screen import Screen, screen

ENDING_KEYS = b"qQ"


def run(config: Path, interval: int) -> int:
    client = AdminClient(config, FIRST_ANSWER_SECONDS)
    with screen("elsewhere: tidegate status") as shown:
        return _show(shown, Watcher(client, interval, shown.tell), f"every {interval} s, q ends")


class Watcher:
    """Asks the server in a thread of its own, so that keys are heard while it does not answer."""

    def __init__(self, client: AdminClient, interval_seconds: float, tell: Callable[[], None]) -> None:
        """`tell` is called when there is something new."""
        self.overview = Overview()
        self._client = client
        self._interval_seconds = interval_seconds
        self._tell = tell
        self._ended = threading.Event()
        self._error: BaseException | None = None
        threading.Thread(target=self._watch, daemon=True).start()  # an answer may take long, and nobody waits for it

    def end(self) -> None:
        self._ended.set()

    def raise_error(self) -> None:
        """Raise what has ended the thread, if anything has."""
        if self._error is not None:
            raise self._error

    def _watch(self) -> None:
        try:
            while not self._ended.is_set():
                self.overview = self._look()
                self._tell()
                self._ended.wait(self._interval_seconds)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that shows
            self._error = error
            self._tell()

    def _look(self) -> Overview:
        try:
            return self.overview.followed_by(scrape(self._client))
        except NoAnswer as error:
            return self.overview.without_answer(str(error))


def _show(shown: Screen, watcher: Watcher, hint: str) -> int:
    """Return the exit code, once somebody ends it: 0 by `q`, else what a shell reports for the signal."""
    try:
        while True:
            shown.draw(_lines(watcher.overview, shown.size, hint))
            happened = shown.wait()
            watcher.raise_error()
            if happened.ending is not None:
                return 128 + happened.ending
            if set(happened.keys) & set(ENDING_KEYS):
                return 0
            if signal.SIGTSTP in happened.numbers:
                shown.stop()
            if signal.SIGCONT in happened.numbers:
                shown.take()
    finally:
        watcher.end()


def _lines(overview: Overview, size: tuple[int, int], hint: str) -> list[str]:
    width, height = size
    troubles = [] if overview.now is None else wrong(overview.now, allow_dead=True)
    found = lines(overview, troubles, width=width, height=height, hint=hint)
    return ["".join(paint(*piece) for piece in line) for line in found]
