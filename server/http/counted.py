"""A request whose body is counted as it grows, and decided on when it is whole: at once, or when it is its turn."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

from server.base.refusal import UNAUTHORIZED, Refusal
from server.http.answer import Answer
from server.http.frontend import delivery_refused
from server.http.turns import Turns, is_light
from server.intake.intake import DeliveryHead
from server.observe.refusals import Grounds

OnAnswer = Callable[[Answer | Exception], None]


class CountedRequest(ABC):
    """What admitted requests have in common, whether it is known who sends them or not."""

    __slots__ = ("_answer", "_head", "_held", "_is_heavy", "_received", "_submitted", "_turns")

    def __init__(self, head: DeliveryHead, turns: Turns) -> None:
        self._head = head
        self._turns = turns
        self._held = 0
        """Bytes that are reserved for it."""
        self._received = 0
        self._is_heavy = False
        self._submitted = False
        self._answer: OnAnswer

    @property
    @abstractmethod
    def source_id(self) -> str:
        """The source that it was found to be of; "" while that is not known."""

    @abstractmethod
    def reserve(self, count: int) -> Refusal | None:
        """Reserve room for `count` more bytes, or refuse them."""

    @abstractmethod
    def grounds(self, refusal: Refusal, body: bytes = b"") -> Grounds:
        """Return what is recorded of it if it is refused. `body`: as received, once it is whole."""

    @abstractmethod
    def _release(self) -> None:
        """Release what is reserved."""

    @abstractmethod
    def _admit(self, body: bytes) -> Refusal | None:
        """Read the body and hand it over, or return why not."""

    def grow(self, count: int) -> Refusal | None:
        """Count bytes of the body that have arrived; refuse them if they are too many."""
        self._received += count
        missing = self._received - self._held
        return self.reserve(missing) if missing > 0 else None

    def submit(self, body: bytes, answer: OnAnswer) -> None:
        """Decide on the whole body, now or when it is its turn. `answer` is called exactly once, perhaps before this
        returns; with an exception if that is our bug, and nothing was handed over.
        """
        self._begin(answer)
        step = partial(self._decide, partial(self._admit, body), body)
        if is_light(body, self._head.scanned.content_encoding):
            self._turns.small_came()
            step()
        else:
            self._is_heavy = True
            self._turns.take(self.source_id, step)

    def close(self) -> None:
        """Release its memory; call when the request is over or its client gone. If it was submitted, its memory stays
        reserved until its answer.
        """
        if not self._submitted:
            self._release()

    def _begin(self, answer: OnAnswer) -> None:
        self._answer, self._submitted = answer, True

    def _decide(self, admit: Callable[[], Refusal | None], body: bytes = b"") -> None:
        try:
            refusal = admit()
        except Exception as error:  # noqa: BLE001  # contained: reported by the front end
            self._reply(error)
            return
        if refusal is not None:
            self._refuse(refusal, body)

    def _refuse(self, refusal: Refusal, body: bytes = b"") -> None:
        is_last = refusal.code == UNAUTHORIZED.code  # as for a wrong token, to the byte
        self._reply(delivery_refused(self._head, refusal, close=is_last, grounds=self.grounds(refusal, body)))

    def _reply(self, answer: Answer | Exception) -> None:
        self._release()
        if self._is_heavy:
            self._turns.answered()
        self._answer(answer)
