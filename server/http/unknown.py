"""A request of an SDK that has its key in its body: read before anybody knows who sends it.

So whoever sends one, to a source that exists or not, is served alike: within limits that are far below those of a known
sender, in a turn that all of them share, and with the same answer if the key is wrong.
"""

from typing import Protocol

from server.base.byte_budget import ByteBudget
from server.base.refusal import Refusal, refuse
from server.http.counted import CountedRequest, OnAnswer
from server.http.frontend import Denial
from server.http.turns import Turns
from server.intake.intake import DeliveryHead, IntakeLimits, opened
from server.intake.parse import Body
from server.observe.refusals import Grounds


class KnownRequest(Protocol):
    """A request whose source was found."""

    @property
    def source_id(self) -> str: ...
    def submit_opened(self, body: Body, answer: OnAnswer, /) -> None: ...


class KeyGate(Protocol):
    """What such a request needs of the gate."""

    @property
    def turns(self) -> Turns: ...
    @property
    def unknown(self) -> ByteBudget: ...
    @property
    def unknown_limits(self) -> IntakeLimits: ...
    def grounds_of_stranger(self, head: DeliveryHead, refusal: Refusal, /) -> Grounds: ...
    def known(self, head: DeliveryHead, body: Body, size: int, /) -> KnownRequest | Denial: ...


class UnknownRequest(CountedRequest):
    """Counts its body as it grows, finds its key, and goes on as the request of a known sender.

    Until then all of these are of one source, "", among those that take turns.
    """

    __slots__ = ("_found_id", "_gate", "_grounds")

    def __init__(self, gate: KeyGate, head: DeliveryHead) -> None:
        super().__init__(head, gate.turns)
        self._gate = gate
        self._found_id = ""
        self._grounds: Grounds | None = None

    @property
    def source_id(self) -> str:
        return self._found_id

    def reserve(self, count: int) -> Refusal | None:
        """Reserve room for `count` more bytes, or refuse them. A client's address is what a source is elsewhere."""
        bytes_max = self._gate.unknown_limits.body_bytes_max
        if self._held + count > bytes_max:
            return refuse("too_large", f"a body with the key in it may have {bytes_max} bytes")
        if not self._gate.unknown.reserve(self._head.remote_addr, count):
            return refuse("overloaded", "too many bodies with the key in them are in flight")
        self._held += count
        return None

    def grounds(self, refusal: Refusal, body: bytes = b"") -> Grounds:  # noqa: ARG002  # nothing of a stranger's body
        return self._grounds or self._gate.grounds_of_stranger(self._head, refusal)

    def _admit(self, body: bytes) -> Refusal | None:
        found = opened(self._head, body, self._gate.unknown_limits)
        if isinstance(found, Refusal):
            return found
        request = self._gate.known(self._head, found, len(body))
        if isinstance(request, Denial):
            self._grounds = request.grounds
            return request.refusal
        self._release()
        self._found_id = request.source_id
        request.submit_opened(found, self._reply)
        return None

    def _release(self) -> None:
        if self._held:
            self._gate.unknown.release(self._head.remote_addr, self._held)
            self._held = 0
