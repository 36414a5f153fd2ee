"""Both front ends under an attacker's grammar: only answers of the contract, the same ones, and books that add up."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.hostile import conversations
from tests.support.hostile_pair import Pair

pytestmark = pytest.mark.xdist_group("hostile requests")  # two servers for all of them


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Pair(Path(tmp_path_factory.mktemp("hostile"))) as made:
        yield made


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(pieces=conversations())
def test_any_bytes_get_answers_of_the_contract(pair: Pair, pieces: list[bytes]) -> None:
    """Whatever comes, each front end says whole answers of the contract and no other byte, and both say the same."""
    pair.say(pieces)


def test_what_was_accepted_is_there(pair: Pair) -> None:
    """After all that, both serve a good request, have what they said they took, and logged nothing but JSON."""
    assert pair.taken > 0
    pair.check()
