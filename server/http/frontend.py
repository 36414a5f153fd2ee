"""What both front ends share: what they ask of gate and health, their limits, and what they refuse by themselves.

Neither front end imports the other; what one needs of the other stands here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from server.base.refusal import Refusal, refuse
from server.http.answer import Answer
from server.http.connections import Connections
from server.intake.intake import Head

READ_BYTES = 65536
"""The most that is read from a socket at once."""
WRITE_BYTES = 65536
"""An answer leaves in pieces of at least this, so that a small one is one send."""
LINGER_SECONDS = 2.0
"""How long what a client still sends is discarded after its last answer."""

BROKEN_HEAD = refuse("invalid_request", "the head is malformed, or ended early")
BROKEN_BODY = refuse("invalid_request", "the body ended early, or its chunks are malformed")
SLOW_BODY = refuse("timeout", "the body did not come in time")
FULL = refuse("overloaded", "too many connections")


class EntryProtocol(Protocol):
    """A request that passed the gate, until it is closed."""

    def grow(self, count: int, /) -> Refusal | None: ...
    def submit(self, body: bytes, answer: Callable[[Answer], None], /) -> None: ...
    def close(self) -> None: ...


class GateProtocol(Protocol):
    """The step between HTTP and intake, as far as a front end sees it."""

    def enter(self, head: Head, /) -> EntryProtocol | Refusal: ...


class HealthProtocol(Protocol):
    """What the health routes ask."""

    def live(self) -> bool: ...
    def ready(self) -> tuple[bool, Mapping[str, object]]: ...


class Observe(Protocol):
    """Hears of one answer: status, code ("" for a 200), seconds; of a refusal also its sender's address and source."""

    def __call__(self, status: int, code: str, seconds: float, remote_addr: str = "", source: str = "", /) -> None: ...


class ConnectionLimits(Protocol):
    """The limits of a listener's connections."""

    @property
    def connections_max(self) -> int: ...
    @property
    def header_timeout_seconds(self) -> float: ...
    @property
    def body_timeout_seconds(self) -> float: ...
    @property
    def keep_alive_timeout_seconds(self) -> float: ...


@dataclass(slots=True)
class Listener:
    """What all connections of one listener share, whichever front end serves them."""

    limits: ConnectionLimits
    observe: Observe
    on_error: Callable[[BaseException], None]
    connections: Connections = field(init=False)
    is_draining: bool = False
    """Every answer from now on is its connection's last."""

    def __post_init__(self) -> None:
        self.connections = Connections(self.limits.connections_max)
