"""Delivery ids: the number of the first event in base 32, `-`, and six characters of the start that gave the number."""

from collections.abc import Iterable
from functools import lru_cache

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _DIGITS for low in _DIGITS]
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
FIRST_DIGITS = 13
"""Of five bits each: room for 64."""


def delivery_id(first: int, suffix: str) -> str:
    """Return the id of the delivery whose first event has this number; ids sort as numbers do."""
    return f"{_leading(first >> 20)}{_PAIRS[first >> 10 & 1023]}{_PAIRS[first & 1023]}-{suffix}"


def delivery_ids(firsts: Iterable[int], suffix: str) -> list[str]:
    """Return the ids of the deliveries with these first numbers."""
    return [delivery_id(first, suffix) for first in firsts]


@lru_cache(maxsize=8)
def _leading(number: int) -> str:
    """Return all digits but the last four, which are the same for a million events."""
    return "".join([_DIGITS[number >> shift & 31] for shift in range(5 * (FIRST_DIGITS - 5), -1, -5)])


def first_of(identity: str) -> int | None:
    """Return the first number in a delivery id; None if the text is not a delivery id."""
    digits, dash, suffix = identity.partition("-")
    if len(digits) != FIRST_DIGITS or not dash or not suffix or not all(digit in _VALUES for digit in digits):
        return None
    first = 0
    for digit in digits:
        first = first << 5 | _VALUES[digit]
    return first if first < 1 << 64 else None
