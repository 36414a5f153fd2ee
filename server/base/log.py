"""The log: one structured line per occurrence, on stderr; JSON unless stderr is a terminal, or it is said otherwise.

Callers never pass a secret, a payload, a query or an Authorization header. Both renderers escape control characters in
what senders supply (an id, a header), so that no line can be forged.
"""

import logging
import sys
import time
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Literal, TextIO

import structlog

from server.base import colours
from server.base.printable import printable
from storage.frozen import frozen

THROTTLE_SECONDS = 1.0
"""At most one line per reason in this time: a flood of refusals must not become a flood of lines."""


FIRST_KEYS = ("timestamp", "level", "name", "event")

LEVELS: Mapping[str, int] = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
"""By the names that operators use: all lines, or those of this level and above."""

SHARED: Sequence[Any] = (
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
)
"""What is done to every line before it is rendered."""


@frozen
class Style:
    """How the log is written."""

    form: Literal["json", "console"] | None = None
    """None: for people on a terminal, else JSON."""
    level: str = "info"
    """One of LEVELS: lines below it are not written."""


DEFAULT_STYLE = Style()


def configure(stream: TextIO | None = None, style: Style = DEFAULT_STYLE) -> None:
    """Set up the log of this process, on this stream or stderr, including what libraries log at WARNING and above."""
    stream = stream or sys.stderr
    rendering = _rendering(style, terminal=stream.isatty())
    level = LEVELS[style.level]
    structlog.configure(
        processors=[*SHARED, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _LineLogger(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
    )
    handler.setFormatter(formatter)
    logging.root.handlers = [handler]
    logging.root.setLevel(max(level, logging.WARNING))


def lines_lost(count: int, terminal: bool, style: Style = DEFAULT_STYLE) -> str:
    """Return the line that says how many lines found no reader; it is written at every level."""
    line: Any = {"name": "tidegate.log", "event": "lines lost", "lines": count}
    for process in (*SHARED, *_rendering(style, terminal=terminal)):
        line = process(None, "warning", line)
    return str(line)


class _LineLogger:
    """Writes each line with its end in one call, and without a lock: a line may be said in a signal handler."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        self._stream.write(f"{line}\n")

    info = warning = error = msg


def _rendering(style: Style, *, terminal: bool) -> list[Any]:
    if style.form == "console" or (style.form is None and terminal):
        return [escape_controls, structlog.dev.ConsoleRenderer(colors=terminal and colours.are_wanted())]
    return [_first_keys_first, structlog.processors.JSONRenderer()]


def get(name: str) -> Any:
    """Return a logger. `event` says what happened in a few fixed words; keys carry the rest."""
    return structlog.get_logger(name=name)


def _first_keys_first(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put the keys that readers look for first in front."""
    return {key: event[key] for key in (*FIRST_KEYS, *event) if key in event}


def escape_controls(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape control characters, but for the line ends of a traceback. (JSON does so by itself.)"""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = "\n".join(map(printable, value.split("\n"))) if key == "exception" else printable(value)
    return event


class Throttled:
    """Logs one line per reason, at most once a second; the next line counts those suppressed."""

    def __init__(self, name: str, event: str) -> None:
        self._log = get(name)
        self._event = event
        self._next: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def warn(self, reason: str, **keys: object) -> bool:
        """Log unless throttled; return whether it did. Reasons come from a closed list, or are ids of sources."""
        now = time.monotonic()
        if now < self._next.get(reason, 0.0):
            self._suppressed[reason] = self._suppressed.get(reason, 0) + 1
            return False
        self._next[reason] = now + THROTTLE_SECONDS
        self._log.warning(self._event, **keys, suppressed=self._suppressed.pop(reason, 0))
        return True
