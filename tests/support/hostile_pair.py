"""The same server twice, with either front end, told the same bytes: their answers are compared, and their books."""

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import check_identity, totals
from tests.support.server import Child, Children
from tests.support.strict_answers import StrictAnswer, answers_in, converse

CONFIG = (
    "[limits]\nbody_bytes_max = 20000\ndecoded_bytes_max = 100000\njson_containers_max = 2000\nbatch_events_max = 20\n"
    + source("hook")
    + source("app", type="segment")
)

A_BAD_HEAD = {"invalid_request", "headers_too_large"}
"""Which fault of a head is seen first may depend on how its bytes came in."""


class Pair(AbstractContextManager["Pair"]):
    """Fast and complete, both running, until the end of the block."""

    def __init__(self, directory: Path) -> None:
        self._children = Children(directory)
        self.servers: list[Child] = [self._children(CONFIG, fast=fast) for fast in (True, False)]
        self.taken = 0
        """How many events each has said that it took."""
        self.refusals: Counter[str] = Counter()
        """How often each has refused, by code."""
        for server in self.servers:
            server.start()

    def __exit__(self, *_: object) -> None:
        self._children.__exit__()

    def say(self, pieces: Sequence[bytes]) -> list[StrictAnswer]:
        """Say this to both; raise AssertionError if either answers what the contract has not, or they differ."""
        fast, complete = (answers_in(converse(server.port, pieces)) for server in self.servers)
        assert list(map(_comparable, fast)) == list(map(_comparable, complete))
        self.taken += sum(answer.taken for answer in fast)
        self.refusals.update(answer.code for answer in fast if answer.code)
        return fast

    def check(self) -> None:
        """Raise AssertionError unless both live, have exactly what they said they took, and wrote JSON alone."""
        for server in self.servers:
            assert server.post("hook", item("good")).status == 200
            check_identity(server)
            assert sum(each["received"] for each in totals(server).values()) == self.taken + 1
            assert server.stop() == 0
            assert server.errors == []
            assert not [line for line in server.lines if "exception" in line]


def _comparable(answer: StrictAnswer) -> object:
    """Return what both must say alike: all but the ids that they make."""
    if answer.code in A_BAD_HEAD:
        return "a bad head"
    return answer.status, answer.said | ({"delivery": ""} if "delivery" in answer.said else {})
