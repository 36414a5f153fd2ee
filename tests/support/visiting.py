"""The admin side's page in a headless Chromium, used as people use it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.browser import FLAGS, _chromium
from tests.support.node import Answering


class Visitor:
    """One browser with one page; parts of it are named by Playwright's selectors."""

    def __init__(self, browser: Answering) -> None:
        self._browser = browser

    def ask(self, *question: object) -> Any:
        """What `tests/node/visit.mjs` answers; raises AssertionError with what went wrong."""
        answer = self._browser.ask(question)
        assert "error" not in answer, answer["error"]
        return answer.get("result")

    def go(self, port: int, place: str = "") -> None:
        """Open the page anew, at this place behind its #."""
        self.ask("go", "about:blank")
        self.ask("go", f"http://127.0.0.1:{port}/#/{place}")

    def shape(self, width: int, height: int, scheme: str) -> None:
        """Set the window's size, and `light` or `dark`."""
        self.ask("shape", width, height, scheme)

    def click(self, part: str) -> None:
        self.ask("click", part)

    def press(self, key: str) -> None:
        self.ask("press", key)

    def type(self, part: str, text: str) -> None:
        self.ask("type", part, text)

    def choose(self, part: str, value: str) -> None:
        self.ask("choose", part, value)

    def see(self, part: str) -> str:
        """What it shows, once it is seen."""
        self.ask("await", part)
        return str(self.ask("text", part))

    def run(self, script: str) -> Any:
        """What the script comes to in the page."""
        return self.ask("do", script)

    def findings(self) -> list[Any]:
        """What axe-core finds wrong with what is seen now."""
        found: list[Any] = self.ask("axe")
        return found

    def take_clock(self) -> None:
        """Let `later` set the clock and the timers of the pages that are opened from now on."""
        self.ask("clock")

    def later(self, seconds: int) -> None:
        """Let so much time pass for the page."""
        self.ask("later", 1000 * seconds)

    def picture(self, path: Path) -> None:
        """Write what is seen now, as PNG."""
        self.ask("picture", str(path))

    def asked(self) -> list[str]:
        """The addresses of all requests so far."""
        found: list[str] = self.ask("told")["asked"]
        return found

    def said(self) -> list[str]:
        """What the console said so far, errors and dialogs among it."""
        found: list[str] = self.ask("told")["said"]
        return found


@contextmanager
def visiting(profile: Path) -> Iterator[Visitor]:
    """A browser whose data are in this new folder; skips the test where there can be none."""
    program = _chromium()
    with Answering("visit.mjs") as browser:
        visitor = Visitor(browser)
        visitor.ask("open", program, str(profile), *FLAGS)
        yield visitor
        browser.end()
