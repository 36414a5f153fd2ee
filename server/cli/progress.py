"""The progress of a long command: one line on stderr, redrawn, if that is a terminal."""

import shutil
import sys
import time

from server.cli.failure import say

DRAW_SECONDS = 0.1
BAR_CHARACTERS = 30


class Progress:
    """A context manager that draws a progress line, and erases it at the end."""

    def __init__(self, noun: str, total: int | None = None) -> None:
        self._noun = noun
        self._total = total
        self._shown = sys.stderr.isatty()
        self._started = time.monotonic()
        self._next = self._started

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def update(self, done: int, words: str = "") -> None:
        """Show that `done` of the total are done. Cheap enough to call for each."""
        now = time.monotonic()
        if not self._shown or now < self._next:
            return
        self._next = now + DRAW_SECONDS
        self._draw(self.line(done, now - self._started, words))

    def clear(self) -> None:
        """Erase the line, so that something else can be printed in its place."""
        if self._shown:
            self._draw("")

    def line(self, done: int, seconds: float, words: str = "") -> str:
        """Return the line to draw after this many seconds."""
        rate = f"{done / seconds:,.0f}/s" if seconds >= DRAW_SECONDS else ""
        if self._total is None:
            return f"{done:,} {self._noun}  {rate}  {words}".rstrip()
        filled = BAR_CHARACTERS * done // max(self._total, 1)
        bar = "#" * filled + "." * (BAR_CHARACTERS - filled)
        return f"[{bar}] {done:,} of {self._total:,} {self._noun}  {rate}  {words}".rstrip()

    def _draw(self, line: str) -> None:
        columns = shutil.get_terminal_size().columns
        sys.stderr.write(f"\r{line[: columns - 1]}\x1b[K")
        sys.stderr.flush()


class Steps:
    """A context manager that prints each step of something long on a line, and draws its progress."""

    def __init__(self) -> None:
        self._step = ""
        self._progress = Progress("events")

    def __enter__(self) -> "Steps":
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.__exit__()

    def update(self, step: str, done: int, total: int) -> None:
        """Show that `done` of the events are through this step."""
        if step != self._step:
            self._progress.__exit__()
            say(f"{step} ...")
            self._step, self._progress = step, Progress("events", total)
        self._progress.update(done)
