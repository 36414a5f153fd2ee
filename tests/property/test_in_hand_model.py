"""The file of what is in hand against a dict, over any sequence of calls, outcomes, deaths and ends on purpose."""

import os
import shutil
import tempfile
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage.in_hand.in_hand import InHand, Whose, recall
from storage.in_hand.records import PAGE_NUMBERS_MAX, Suspect, encode_page

OURS = Whose(b"this boot is one", b"store-01")
HANDS = st.integers(0, 2)
NUMBERS = st.lists(st.integers(1, 30), unique=True, min_size=1, max_size=6).map(sorted) | st.just(
    list(range(1, PAGE_NUMBERS_MAX + 30))
)


def after_death(known: dict[int, Suspect], in_hand: set[int]) -> dict[int, Suspect]:
    found = dict(known)
    for number in in_hand:
        before = found.get(number)
        found[number] = Suspect(before.deaths + 1, owed=True) if before else Suspect(1, owed=False)
    return found


class FileOfHands(RuleBasedStateMachine):
    """After every death the suspects are those of before and whoever was in hand; owed is who was both."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.known: dict[int, Suspect] = {}
        self.deaths = 0

    @initialize()
    def start(self) -> None:
        self.file = InHand(self.path, OURS, self.known, partial(self.complain, self.deaths))
        self.hands = [self.file.hand() for _ in range(3)]
        self.calls: dict[int, tuple[AbstractContextManager[None], set[int]]] = {}
        self.is_ending = False

    def teardown(self) -> None:
        self.deaths += 1
        shutil.rmtree(self.path)

    def complain(self, deaths: int, error: OSError) -> None:
        """A process that is dead has calls that Python ends some time later."""
        if deaths == self.deaths:
            raise AssertionError from error

    @property
    def in_hand(self) -> set[int]:
        return set() if self.is_ending else {number for _, numbers in self.calls.values() for number in numbers}

    @rule(at=HANDS, numbers=NUMBERS)
    def call(self, at: int, numbers: list[int]) -> None:
        if at not in self.calls:
            holding = self.hands[at].holding(numbers)
            holding.__enter__()
            self.calls[at] = holding, set(numbers)

    @rule(at=HANDS)
    def come_back(self, at: int) -> None:
        if at in self.calls:
            self.calls.pop(at)[0].__exit__(None, None, None)

    @rule(numbers=NUMBERS)
    def outcome(self, numbers: list[int]) -> None:
        self.file.clear(numbers)
        for number in numbers:
            self.known.pop(number, None)

    @precondition(lambda self: self.known)
    @rule(place=st.integers(0, 10**6))
    def count(self, place: int) -> None:
        number = sorted(self.known)[place % len(self.known)]
        self.file.counted(number)
        self.known[number] = Suspect(self.known[number].deaths, owed=False)

    @rule()
    def end_on_purpose(self) -> None:
        self.file.ending()
        self.is_ending = True

    @rule()
    def die(self) -> None:
        self.deaths += 1
        self.known = recall(self.path, OURS)
        self.start()

    @rule(numbers=st.lists(st.integers(1, 30), unique=True, max_size=6), whole=st.floats(0, 1, exclude_max=True))
    def die_in_a_write(self, numbers: list[int], whole: float) -> None:
        """With a page of which only a part was written."""
        content = encode_page(numbers)
        file = os.open(self.path / "in-hand", os.O_WRONLY)
        os.pwrite(file, content[: int(whole * len(content))], self.file.page())
        os.close(file)
        self.die()

    @invariant()
    def the_file_says_what_is_so(self) -> None:
        assert self.file.suspects == self.known
        assert recall(self.path, OURS) == after_death(self.known, self.in_hand)


FileOfHands.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

TestInHand = FileOfHands.TestCase
