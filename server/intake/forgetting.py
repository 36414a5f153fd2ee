"""Items taken out of the body of a delivery: all else stays as it was sent, byte for byte."""

import re
from collections.abc import Collection

from server.intake.batches import stored_list_name
from server.intake.secret_spans import BLANK, BLANKS, STRING, Span, behind, spelt
from storage.deliveries import Deliveries

NOTHING = b"null"
"""What stands in the place of an item, so that the others keep theirs."""

_OBJECT, _ARRAY, _COMMA = b"{[,"

_blanks = re.compile(BLANK).match
_name = re.compile(rb"%b(%b)%b:%b" % (BLANK, STRING, BLANK, BLANK)).match


def without_items(deliveries: Deliveries, place: int, positions: Collection[int]) -> bytes:
    """Return the body of the delivery at this place without the items of the events at these positions, and empty if
    these are all its events."""
    body = deliveries.bodies[place]
    if not body or len(positions) == deliveries.counts[place]:
        return b""
    indexes = {deliveries.indexes[position] for position in positions}
    lists = _lists(body, stored_list_name(deliveries.source_type).encode())
    spans = [span for index, span in enumerate(_elements(body, lists.pop())) if index in indexes]
    repeated = [(start, behind(body, start)) for start in lists]  # of a repeated key the last one counts
    return _replaced(body, sorted(repeated + spans))


def _lists(text: bytes, name: bytes) -> list[int]:
    """Return where the lists of items of this name begin, the one that counts last; that of the text if it is one."""
    at = _behind_blanks(text, 0)
    if text[at] == _ARRAY:
        return [at]
    is_list = re.compile(spelt(name)).fullmatch
    found: list[int] = []
    while text[at] in (_OBJECT, _COMMA) and (named := _name(text, at + 1)) is not None:
        if is_list(named[1]):
            found.append(named.end())
        at = _behind_blanks(text, behind(text, named.end()))
    return found


def _elements(text: bytes, at: int) -> list[Span]:
    """Return where the elements of the array that begins here are."""
    found: list[Span] = []
    at = _behind_blanks(text, at + 1)
    while text[at] != b"]"[0]:
        end = behind(text, at)
        found.append((at, end))
        at = _behind_blanks(text, end)
        if text[at] == _COMMA:
            at = _behind_blanks(text, at + 1)
    return found


def _behind_blanks(text: bytes, at: int) -> int:
    found = _blanks(text, at)
    assert found is not None  # it matches nothing, too
    return found.end()


def _replaced(text: bytes, spans: list[Span]) -> bytes:
    pieces, at = [], 0
    for start, end in spans:
        pieces += [text[at:start], NOTHING]
        at = start + len(text[start:end].rstrip(BLANKS))
    return b"".join([*pieces, text[at:]])
