"""Every target of the fuzzing, with what it should take and with a few hundred things that are nearly that."""

from random import Random

import pytest

from tests.support.fuzz_targets import TARGETS

ROUNDS = 150


def damaged(random: Random, data: bytes) -> bytes:
    """The bytes with a few of them changed, taken out, doubled or replaced."""
    found = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at, to = sorted(random.randint(0, len(found)) for _ in range(2))
        piece = random.choice((b"", found[at:to] * 2, random.randbytes(1), random.randbytes(4), b"\0", b"\xff"))
        found[at : random.choice((at, min(at + 1, to), to))] = piece
    return bytes(found[:20_000])


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_unforeseen_escapes_a_target(name: str) -> None:
    """What is right, what is nearly right and what is nothing at all: each gets what the contract names."""
    target, random = TARGETS[name], Random(name)
    for seed in target.seeds:
        target.run(seed)
    for _ in range(ROUNDS):
        target.run(damaged(random, random.choice(target.seeds)))
