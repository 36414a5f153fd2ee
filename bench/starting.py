"""How long Tidegate takes to start on a store: until it takes deliveries, and until it works them off."""

import time
from dataclasses import dataclass
from pathlib import Path

from bench import admin
from bench.child import HANG_SECONDS, Child
from bench.peers import Peer

POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds, from the start of the process where nothing else is said."""

    opened_seconds: float
    """Its store is mapped: before that it has only imported, and read its configuration."""
    ready_seconds: float
    """/readyz says 200."""
    ready_after_opening_seconds: float
    consuming_seconds: float
    """/readyz has no warning that the index is being rebuilt, so consumers run."""


def start(peer: Peer, directory: Path, core: int | None) -> tuple[Child, int, Start]:
    """The server on the store in `directory`, its port, and its times. Raises RuntimeError where it never runs."""
    began = time.monotonic()
    child, port = peer.launch(directory, core)
    try:
        return child, port, _times(child, port, directory / "data" / "data.mdb", began)
    except BaseException:  # whatever ends the wait, no server is left behind
        child.kill()
        raise


def _times(child: Child, port: int, store: Path, began: float) -> Start:
    opened = ready = None
    while (now := time.monotonic() - began) < HANG_SECONDS and child.process.poll() is None:
        if opened is None and child.has_mapped(store):
            opened = now
        said = admin.get(port, "/readyz")
        if opened is not None and said is not None:
            now = time.monotonic() - began
            ready = ready or now
            if b"index_rebuilding" not in said:
                return Start(opened, ready, ready - opened, now)
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"{child.process.args!r} does not run:\n{child.output()}")
