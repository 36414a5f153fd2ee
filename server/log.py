"""The log: one structured line per happening on stderr; JSON where no terminal reads it.

Never a secret, a payload, a query or an Authorization header: nobody hands them in. What comes from a sender (an id, a
header) has its control characters escaped by either renderer, so that no line can be forged.
"""

import logging
import sys
import time
from collections.abc import MutableMapping
from typing import Any

import structlog

REFUSAL_LOG_SECONDS = 1.0
"""At most one line for each reason in this time: a flood of refusals must not become a flood of lines."""


def configure() -> None:
    """Set the log up for this process, the libraries' own words at WARNING and above included."""
    terminal = sys.stderr.isatty()
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = structlog.dev.ConsoleRenderer(colors=True) if terminal else structlog.processors.JSONRenderer()
    rendering = [escape_controls, renderer] if terminal else [renderer]
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
    """A logger; `event` says what happened in a few fixed words, keys carry the rest."""
    return structlog.get_logger(name=name)


def escape_controls(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Make control characters visible. (JSON does that by itself.)"""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception":
            event[key] = "".join(map(_visible, value))
    return event


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


class RefusalLog:
    """One line for each refusal reason, at most once a second; what was left out is counted in the next."""

    def __init__(self) -> None:
        self._log = get("tidegate.refusals")
        self._next: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def observe(self, status: int, code: str, seconds: float) -> None:  # noqa: ARG002  # one signature for all observers
        if not code:
            return
        now = time.monotonic()
        if now < self._next.get(code, 0.0):
            self._left_out[code] = self._left_out.get(code, 0) + 1
            return
        self._next[code] = now + REFUSAL_LOG_SECONDS
        self._log.warning("refused", code=code, status=status, more_since_last_line=self._left_out.pop(code, 0))
