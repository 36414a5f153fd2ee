"""A page in a headless Chromium, served from a port of its own: what it sends to a server comes from another origin."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support import node
from tests.support.debian import install
from tests.support.node import Answering

PROGRAM = "chromium"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
"""A browser for tests: it asks nobody but who the page names, and there are no names."""


class Page:
    """The page `tests/node/page.html`."""

    def __init__(self, origin: str, browser: Answering) -> None:
        self.origin = origin
        self._browser = browser

    def open(self) -> None:
        """Open it, in place of what was there before; what it left in the browser's storage is there."""
        self._ask("go", f"{self.origin}/page.html")

    def leave(self) -> None:
        """Open an empty page in its place."""
        self._ask("go", "about:blank")

    def run(self, script: str) -> Any:
        """What the script comes to in the page; raise AssertionError with what it throws."""
        return self._ask("do", script)

    def take_clock(self) -> None:
        """Let `later` set the clock and the timers of the pages that are opened from now on."""
        self._ask("clock")

    def later(self, seconds: int) -> None:
        """Let so much time have passed for the page."""
        self._ask("later", 1000 * seconds)

    def version(self) -> str:
        """The browser's, in one number, as it tells every server."""
        return str(self.run("navigator.userAgent.match(/Chrome.([0-9]+)/)[1]"))

    def asked(self) -> list[str]:
        """The addresses of all requests of the browser so far."""
        found: list[str] = self._ask("asked")
        return found

    def _ask(self, *question: object) -> Any:
        answer = self._browser.ask(question)
        assert "error" not in answer, answer["error"]
        return answer.get("result")


@contextmanager
def browsing(profile: Path) -> Iterator[Page]:
    """A browser without a page yet, whose data are in this new folder; skips the test where there can be none."""
    program = _chromium()
    with _served(node.installed()) as origin, Answering("browse.mjs") as browser:
        page = Page(origin, browser)
        page._ask("open", program, str(profile), *FLAGS)
        yield page
        browser.end()


@contextmanager
def _served(directory: Path) -> Iterator[str]:
    """The origin of a server of these files."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(directory))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


def _chromium() -> str:
    """Debian's, installed if need be and possible: unpacked alone it lacks the libraries that it needs."""
    if not shutil.which(PROGRAM) and shutil.which("apt-get") and os.geteuid() == 0:
        install(PROGRAM)
    return shutil.which(PROGRAM) or pytest.skip(f"takes Chromium, as `{PROGRAM}` on the path")
