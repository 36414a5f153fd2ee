"""Both front ends under an attacker's grammar: only answers of the contract, the same ones, and books that add up."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings

from tests.support.hostile import conversations
from tests.support.hostile_pair import Pair


def test_any_bytes_get_answers_of_the_contract(tmp_path: Path) -> None:
    """Whatever comes, each front end says whole answers of the contract and no other byte, and both say the same; after
    all that both serve a good request, have what they said they took, and logged nothing but JSON."""
    with Pair(tmp_path) as pair:

        @settings(max_examples=150, suppress_health_check=list(HealthCheck))
        @given(pieces=conversations())
        def talk(pieces: list[bytes]) -> None:
            pair.say(pieces)

        talk()
        assert pair.taken > 0, pair.refusals
        pair.check()
