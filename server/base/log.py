"""The log: one structured line for each thing that happens, on stderr; JSON unless a terminal reads it.

Never a secret, a payload, a query or an Authorization header: nobody hands them in. What comes from a sender (an id, a
header) has its control characters escaped by either renderer, so that no line can be forged.
"""

import logging
import sys
import time
from collections.abc import MutableMapping
from typing import Any

import structlog

THROTTLE_SECONDS = 1.0
"""At most one line for each reason in this time: a flood of refusals must not become a flood of lines."""


FIRST_KEYS = ("timestamp", "level", "name", "event")


def configure() -> None:
    """Set up the log for this process, with what the libraries say at WARNING and above."""
    terminal = sys.stderr.isatty()
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    rendering: list[Any] = (
        [escape_controls, structlog.dev.ConsoleRenderer(colors=True)]
        if terminal
        else [_in_order, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
    )
    handler.setFormatter(formatter)
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)


def get(name: str) -> Any:
    """Return a logger; `event` says what happened in a few fixed words, keys carry the rest."""
    return structlog.get_logger(name=name)


def _in_order(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put first what a reader of lines looks for first."""
    return {key: event[key] for key in (*FIRST_KEYS, *event) if key in event}


def escape_controls(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Make control characters visible. (JSON does that by itself.)"""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception":
            event[key] = "".join(map(_visible, value))
    return event


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


class Throttled:
    """One line for each reason, at most once a second; what was left out is counted in the next."""

    def __init__(self, name: str, event: str) -> None:
        self._log = get(name)
        self._event = event
        self._next: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def warn(self, reason: str, **keys: object) -> bool:
        """Say it if its time has come; return whether it did. Reasons are from a closed list, or ids of sources."""
        now = time.monotonic()
        if now < self._next.get(reason, 0.0):
            self._left_out[reason] = self._left_out.get(reason, 0) + 1
            return False
        self._next[reason] = now + THROTTLE_SECONDS
        self._log.warning(self._event, **keys, suppressed=self._left_out.pop(reason, 0))
        return True
