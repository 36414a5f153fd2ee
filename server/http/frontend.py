"""What both front ends share: their views of gate and health, their limits, and the refusals of their own.

Neither front end imports the other; what both need is here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from server.base.refusal import Refusal, for_sdk, refuse
from server.http.answer import Answer, refusal_answer
from server.http.connections import Connections
from server.http.head import Fields, RequestLine
from server.http.remote import Network, remote_address
from server.intake.headers import scan
from server.intake.intake import DeliveryHead
from server.intake.routes import Target, authorization_of
from server.observe.refusals import Grounds
from storage.frozen import frozen

READ_BYTES = 65536
"""The most that is read from a socket in one call."""
WRITE_BYTES = 65536
"""An answer is sent in pieces of at least this, so that a small one is one send."""
HEAD_READ_BYTES = 4096
"""The same while there is no room for bodies: most heads, and little of what cannot be taken yet."""
ROOM_SECONDS = 1.0
"""How long a request waits for room before it is refused: a refusal and the new connection after it cost as much as an
acknowledged request of a few events, so that refusing all at once what is too much would leave less to acknowledge."""
ROOM_LOOK_SECONDS = 0.2
"""How often it asks."""
LINGER_SECONDS = 2.0
"""How long input after the last answer is discarded before the connection is closed."""

BROKEN_HEAD = refuse("invalid_request", "the head is malformed, or ended early")
BROKEN_BODY = refuse("invalid_request", "the body ended early, or its chunks are malformed")
SLOW_BODY = refuse("timeout", "the body did not come in time")
FULL = refuse("overloaded", "too many connections")


@frozen
class Denial:
    """Why the gate does not admit a request, and whose request it is."""

    refusal: Refusal
    source_id: str = ""
    """The source if the request has a valid token of it, else ""; for the log."""
    grounds: Grounds | None = None
    """For the record."""
    lacks_room: bool = False
    """Whether it is for want of room in flight, which others will give back: ask again for ROOM_SECONDS."""

    def may_wait(self, since: float, now: float) -> bool:
        """Return whether a request that first asked at `since` is to ask again."""
        return self.lacks_room and now < since + ROOM_SECONDS


class Entry(Protocol):
    """A request that the gate admitted. Must be closed, whatever happens."""

    @property
    def source_id(self) -> str:
        """The source that it was found to be of; "" while its key may be in its body, and where that was wrong."""

    def grow(self, count: int, /) -> Refusal | None: ...
    def submit(self, body: bytes, answer: Callable[[Answer | Exception], None], /) -> None: ...
    def grounds(self, refusal: Refusal, /) -> Grounds: ...
    def close(self) -> None: ...


class RequestGate(Protocol):
    """The gate as seen by a front end that submits requests one by one."""

    def enter(self, head: DeliveryHead, /) -> Entry | Denial: ...
    def handshake(self, source_id: str, query: bytes, /) -> Answer | None: ...
    def preflight(self, source_id: str, origin: bytes | None, /) -> Answer | None: ...
    def shared(self, answer: Answer, source_id: str, origin: bytes, /) -> Answer: ...


class HealthChecks(Protocol):
    """What the health routes need."""

    def live(self) -> bool: ...
    def ready(self) -> tuple[bool, Mapping[str, object]]: ...


@frozen
class RefusedRequest:
    """A request that was refused, for the log and the record. What is "" is not known."""

    remote_addr: str
    line: RequestLine = RequestLine()
    source_id: str = ""
    """The source if the request has a valid token of it."""
    grounds: Grounds | None = None
    """Why it was refused, if it is a delivery: for the record alone."""

    def known(self) -> Mapping[str, str]:
        """Return what is known of it, by the keys of a log line."""
        found = {"source": self.source_id, "method": self.line.method, "path": self.line.path}
        return {"remote_addr": self.remote_addr} | {key: value for key, value in found.items() if value}


def delivery_head(
    target: Target, fields: Fields, length: int | None, peer: str, trusted_proxies: Sequence[Network]
) -> DeliveryHead:
    """Return the head of a delivery to this target, from this peer. `length`: None if the body is chunked."""
    origins = fields.all(b"origin") if target.route is not None else ()
    return DeliveryHead(
        target.source_id,
        authorization_of(fields.all(b"authorization"), target),
        scan(fields.lines),
        length,
        remote_address(peer, fields.lines, trusted_proxies),
        target.route,
        None if not origins else origins[0] if len(origins) == 1 else b"",
        target.query if target.route is None else b"",
    )


def delivery_refused(head: DeliveryHead, refusal: Refusal, *, close: bool, grounds: Grounds | None = None) -> Answer:
    """Return the answer to a delivery that is refused."""
    return refusal_answer(refusal if head.route is None else for_sdk(refusal), close=close, grounds=grounds)


def for_page(gate: RequestGate, head: DeliveryHead, answer: Answer) -> Answer:
    """Return the answer to a delivery as its page may read it, if a page sent it."""
    return answer if head.origin is None else gate.shared(answer, head.source_id, head.origin)


def refused_delivery(head: DeliveryHead, source_id: str, grounds: Grounds | None) -> RefusedRequest:
    """Return a delivery that was refused; `source_id` only if it was authenticated."""
    return RefusedRequest(head.remote_addr, RequestLine("POST", head.path), source_id, grounds)


class Observe(Protocol):
    """Called for each answer: status, code ("" for a 200), seconds; for a refusal, which request that was."""

    def __call__(self, status: int, code: str, seconds: float, refused: RefusedRequest | None = None, /) -> None: ...


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
    """What all connections of one listener share, in either front end."""

    limits: ConnectionLimits
    observe: Observe
    on_error: Callable[[BaseException], None]
    connections: Connections = field(init=False)
    is_draining: bool = False
    """Every answer from now on is its connection's last."""

    def __post_init__(self) -> None:
        self.connections = Connections(self.limits.connections_max)
