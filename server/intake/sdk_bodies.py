"""Bodies on the routes of SDKs: the write key is found and taken out, and one event gets the type of its route.

What is kept has the key nowhere, and all else as it was sent, byte for byte: numbers keep all their digits. In the
usual body every `"writeKey"` is one of the members that the parser found, so those are cut. Where the numbers differ,
since another member further down has that name, or for another oddity, the text is read token by token.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from server.base.refusal import Refusal
from server.intake.parse import Body, parse

WRITE_KEY = "writeKey"

_STRING = rb'"(?:[^"\\]|\\.)*+"'
_BLANK = rb"[ \t\n\r]*+"


def _spelt(name: bytes) -> bytes:
    """Return a pattern of all ways in which JSON can write this name of letters."""
    letters = [rb"(?:%c|\\u00(?i:%02x))" % (letter, letter) for letter in name]
    return b'"%b"' % b"".join(letters)


_PLAIN = b'"%b"' % WRITE_KEY.encode()
_member = re.compile(rb"%b%b:%b(?:%b|[a-z0-9.E+-]++)(%b,)?" % (_PLAIN, _BLANK, _BLANK, _STRING, _BLANK))
_letter = re.compile(rb"\\u00(?i:%b)" % b"|".join(b"%02x" % letter for letter in WRITE_KEY.encode()))
_tokens = re.compile(rb"%b|[{}\[\],]" % _STRING)
_shown = re.compile(rb"(%b%b:%b\"?)(?:[^\"\\]|\\.)*+" % (_spelt(WRITE_KEY.encode()), _BLANK, _BLANK))
_is_key = re.compile(_spelt(WRITE_KEY.encode())).fullmatch
_is_batch = re.compile(_spelt(b"batch")).fullmatch

_BLANKS, _OPENING, _COMMA = b" \t\n\r", b"{[", b","[0]

Span = tuple[int, int]


def key_in(parsed: object) -> bytes:
    """Return the key that a body tells: its own, or else its first item's; b"" if there is none."""
    for each in _objects(parsed)[:2]:
        found = each.get(WRITE_KEY)
        if found is not None:
            return found.encode() if isinstance(found, str) else b""
    return b""


def masked(text: bytes) -> bytes:
    """Return the beginning of a body, valid or not, with every key in it unreadable, one that is cut off too."""
    return _shown.sub(rb"\1***", text)


def prepared(body: Body, kind: str) -> Body | Refusal:
    """Return the body without the keys of batch and items; one event without a type gets this one, if it is not ""."""
    text = body.text if body.as_sent is None else body.as_sent
    objects = _objects(body.value)
    made = _without_keys(text, sum(WRITE_KEY in each for each in objects))
    for each in objects:
        each.pop(WRITE_KEY, None)
    if kind and objects and all(objects[0].get(name) is None for name in ("batch", "type")):
        made = _with_type(made, kind, is_empty=not objects[0])
        objects[0]["type"] = kind
    if made is text:
        return body
    return Body(body.value, made) if body.as_sent is None else parse(made, len(made))


def _objects(parsed: object) -> list[dict[str, Any]]:
    """Return those whose members count: the body, and the items of its batch."""
    if not isinstance(parsed, dict):
        return []
    batch = parsed.get("batch")
    return [parsed, *(each for each in batch if isinstance(each, dict))] if isinstance(batch, list) else [parsed]


def _with_type(text: bytes, kind: str, *, is_empty: bool) -> bytes:
    """Return the text of an object with this type, at its end: there it counts even beside another one, of null."""
    return b'%b%b"type":"%b"}' % (text.rstrip(_BLANKS)[:-1], b"" if is_empty else b",", kind.encode())


def _without_keys(text: bytes, count: int) -> bytes:
    """Return the text without its keys, of which the parser found so many."""
    if b"writeKey" not in text and b"\\u" not in text:
        return text
    if text.count(_PLAIN) == count and not _letter.search(text):
        plain = [_plain_span(text, found) for found in _member.finditer(text)]
        if len(plain) == count:
            return _cut(text, plain)
    return _cut(text, _spans(text))


def _plain_span(text: bytes, found: re.Match[bytes]) -> Span:
    """Return what to cut of a member that is not beside another key."""
    start, end = found.span()
    if found[1]:
        return start, end
    before = start - 1
    while text[before] in _BLANKS:
        before -= 1
    return (before if text[before] == _COMMA else start), end


def _cut(text: bytes, spans: Iterable[Span]) -> bytes:
    pieces, at = [], 0
    for start, end in spans:
        pieces.append(text[at:start])
        at = end
    return b"".join([*pieces, text[at:]]) if pieces else text


class _Members:
    """The members of an object whose keys are cut, one after the other."""

    def __init__(self) -> None:
        self.name = b""
        self._start = 0
        self._comma = 0
        """The last one."""
        self._follows = False
        """Whether one that stays precedes."""

    def named(self, name: bytes, start: int) -> None:
        """Note a string. The first one of a member is its name."""
        if not self.name:
            self.name, self._start = name, start

    def ended(self, at: int, *, by_comma: bool) -> Span | None:
        """Return what to cut, now that a member has ended here; None if it stays."""
        span = None
        if self.name and _is_key(self.name):
            span = (self._comma, at) if self._follows else (self._start, at + by_comma)
        elif self.name:
            self._follows = True
        self.name, self._comma = b"", at
        return span


_BATCH = object()
_OTHER = object()


def _spans(text: bytes) -> Iterator[Span]:
    """Yield where the text of valid JSON has keys, each with one comma beside it."""
    inside: list[object] = []
    for token in _tokens.finditer(text):
        at, byte = token.start(), text[token.start()]
        inner = inside[-1] if inside else _OTHER
        if byte in _OPENING:
            inside.append(_opened(byte, inside))
            continue
        if byte == b'"'[0]:
            if isinstance(inner, _Members):
                inner.named(token[0], at)
            continue
        if isinstance(inner, _Members) and (span := inner.ended(at, by_comma=byte == _COMMA)) is not None:
            yield span
        if byte != _COMMA:
            inside.pop()


def _opened(byte: int, inside: list[object]) -> object:
    """Return what to know of the container that begins with this byte, inside of those."""
    if byte == _OPENING[0]:
        return _Members() if not inside or (len(inside) == 2 and inside[1] is _BATCH) else _OTHER
    body = inside[0] if len(inside) == 1 else None
    return _BATCH if isinstance(body, _Members) and _is_batch(body.name) else _OTHER
