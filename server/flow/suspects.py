"""Suspects: pending events that were with a processor when a process died. One of them may have killed it.

Each has its turn before any other event is given to a processor: the suspects of all sources one after another, each
alone, so that the next process to die had one event in hand. Those of a source that cannot work (it was removed, is
paused, or has no processor) wait for nobody, and nobody waits for them.

- A first death counts nothing: most of these events are innocent.
- A suspect that was in hand again when the process died has failed once more: an attempt is counted at its next turn,
  and after DEATHS_MAX of these it is dead.
- A turn is one call. Whoever raised, met an outage or outran its timeout did not kill the process: from then on it is
  retried like any event, always alone. It is a suspect until it has an outcome.
- A turn that meets an outage, or outruns its timeout, is the last of its source: others shall not wait for the world
  behind one processor. Its other suspects go with the rest of the source, each alone.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import trio

from server.base import log
from storage.in_hand.in_hand import Hand, InHand, Whose, recall
from storage.in_hand.records import Suspect
from storage.lmdb_store.environment import Store
from storage.read.reader import Reader
from storage.store_time import read_boot_id

DEATHS_MAX = 3
"""Counted deaths until a suspect is dead, if `processor_attempts_max` is not less: each costs everybody a start."""

PROCESS_ENDED = "the process ended while it was being processed"


class Suspects:
    """Who was in hand when the process before died, and who is in hand in this one."""

    def __init__(self, in_hand: InHand, numbers: Mapping[str, Sequence[int]]) -> None:
        """`numbers`: the suspects of each source."""
        self._in_hand = in_hand
        self._waiting = {source_id: tuple(each) for source_id, each in numbers.items()}
        self._awaited = set(numbers)
        self.over = trio.Event()
        """Every suspect whose source can work had its turn: the others may go."""
        self.turn = trio.Lock()
        """Held during a turn."""
        self._open_if_over()

    def hand(self) -> Hand:
        """Return a hand for one source's processor."""
        return self._in_hand.hand()

    def ending(self) -> None:
        """Record that the process ends on purpose, which counts against nobody. Idempotent; may interrupt anything."""
        self._in_hand.ending()

    def waiting(self, source_id: str) -> Sequence[int]:
        """Return the suspects of a source that had no turn yet, in order."""
        return self._waiting.get(source_id, ())

    def had_turn(self, source_id: str) -> None:
        """Take out the first of those that had no turn yet."""
        self._waiting[source_id] = self._waiting[source_id][1:]

    def turns_over(self, source_id: str) -> None:
        """Let the source go on with the rest of its events, when all may."""
        self._waiting.pop(source_id, None)
        self.do_not_await(source_id)

    def do_not_await(self, source_id: str) -> None:
        """Let nobody wait for the turns of this source; call when it cannot work."""
        self._awaited.discard(source_id)
        self._open_if_over()

    def of(self, number: int) -> Suspect | None:
        """Return what is known of the event; None if it is not a suspect."""
        return self._in_hand.suspects.get(number)

    def counted(self, number: int) -> None:
        """Record that the last death is counted; call right before it is."""
        self._in_hand.counted(number)

    def clear(self, numbers: Iterable[int]) -> None:
        """Forget those of these that are suspects; call when they have an outcome on disk."""
        self._in_hand.clear(numbers)

    def _open_if_over(self) -> None:
        if not self._awaited:
            self.over.set()


def find_suspects(store: Store) -> Suspects:
    """Return those of a store that was opened to be written: who was in hand, and is pending still. Raises StoreError.

    From then on the file says who is in hand in this process.
    """
    whose = Whose(read_boot_id(), store.identity)
    found = recall(store.path, whose)
    numbers: dict[str, list[int]] = {}
    for span in Reader(store).spans(list(found), bodies=False):
        numbers.setdefault(span.source_id, []).extend(span.numbers)
    pending = {number: found[number] for each in numbers.values() for number in each}
    for source_id, each in numbers.items():
        again = sum(found[number].owed for number in each)
        log.get("tidegate").warning(
            "events were with a processor when the process died", source=source_id, events=len(each), again=again
        )
    in_hand = InHand(store.path, whose, pending, _complain())
    os.register_at_fork(after_in_child=in_hand.let_go)
    return Suspects(in_hand, numbers)


def _complain() -> Callable[[OSError], None]:
    throttled = log.Throttled("tidegate", "what is with processors cannot be recorded")

    def complain(error: OSError) -> None:
        throttled.warn("in-hand", error=str(error))

    return complain
