"""Members of a body that are secrets, cut out of its text: all else stays as it was sent, byte for byte.

Numbers keep all their digits. In the usual body every member of such a name is one of those that the parser found, so
those are cut. Where the numbers differ, since another member further down has that name, or for another oddity, the
text is read token by token.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from server.base.refusal import Refusal
from server.intake.parse import Body, parse

_STRING = rb'"(?:[^"\\]|\\.)*+"'
_BLANK = rb"[ \t\n\r]*+"
_BLANKS, _OPENING, _COMMA = b" \t\n\r", b"{[", b","[0]
_tokens = re.compile(rb"%b|[{}\[\],]" % _STRING)

_Span = tuple[int, int]


class SecretMember:
    """A member that is a secret in each item of the list of this name, and perhaps in the body itself."""

    def __init__(self, name: str, list_name: str, *, in_body: bool) -> None:
        """`name`: ASCII letters, as `list_name`."""
        self.name, self.list_name, self._in_body = name, list_name, in_body
        written = name.encode()
        self._written = written
        self._plain = b'"%b"' % written
        self._member = re.compile(
            rb"%b%b:%b(?:%b|[a-z0-9.E+-]++)(%b,)?" % (self._plain, _BLANK, _BLANK, _STRING, _BLANK)
        )
        self._letter = re.compile(rb"\\u00(?i:%b)" % b"|".join(b"%02x" % letter for letter in written))
        self._shown = re.compile(rb"(%b%b:%b\"?)(?:[^\"\\]|\\.)*+" % (_spelt(written), _BLANK, _BLANK))
        self._is_it = re.compile(_spelt(written)).fullmatch
        self._is_list = re.compile(_spelt(list_name.encode())).fullmatch

    def holders(self, parsed: object) -> list[dict[str, Any]]:
        """Return the objects in which it is a secret: the body first, if it is one there, and the items."""
        if not isinstance(parsed, dict):
            return []
        listed = parsed.get(self.list_name)
        items = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        return [parsed, *items] if self._in_body else items

    def masked(self, text: bytes) -> bytes:
        """Return the beginning of a body, valid or not, with it unreadable wherever it is, one that is cut off too."""
        return self._shown.sub(rb"\1***", text)

    def taken_out(self, body: Body) -> bytes:
        """Take it out of the body's value; return the text as sent without it, the same object if it was not there."""
        text = sent(body)
        holders = self.holders(body.value)
        made = self._without(text, sum(self.name in each for each in holders))
        for each in holders:
            each.pop(self.name, None)
        return made

    def _without(self, text: bytes, count: int) -> bytes:
        """Return the text without it, of which the parser found so many."""
        if self._written not in text and b"\\u" not in text:
            return text
        if text.count(self._plain) == count and not self._letter.search(text):
            plain = [_plain_span(text, found) for found in self._member.finditer(text)]
            if len(plain) == count:
                return _cut(text, plain)
        return _cut(text, self._spans(text))

    def _spans(self, text: bytes) -> Iterator[_Span]:
        """Yield where the text of valid JSON has it, each with one comma beside it."""
        inside: list[object] = []
        for token in _tokens.finditer(text):
            at, byte = token.start(), text[token.start()]
            inner = inside[-1] if inside else _OTHER
            if byte in _OPENING:
                inside.append(self._opened(byte, inside))
                continue
            if byte == b'"'[0]:
                if isinstance(inner, _Members):
                    inner.named(token[0], at)
                continue
            if isinstance(inner, _Members):
                is_it = bool(self._is_it(inner.name)) and (self._in_body or len(inside) > 1)
                if (span := inner.ended(at, cut=is_it, by_comma=byte == _COMMA)) is not None:
                    yield span
            if byte != _COMMA:
                inside.pop()

    def _opened(self, byte: int, inside: list[object]) -> object:
        """Return what to know of the container that begins with this byte, inside of those."""
        if byte == _OPENING[0]:
            return _Members() if not inside or (len(inside) == 2 and inside[1] is _LIST) else _OTHER
        body = inside[0] if len(inside) == 1 else None
        return _LIST if isinstance(body, _Members) and self._is_list(body.name) else _OTHER


def sent(body: Body) -> bytes:
    """Return the text of a body as it was sent."""
    return body.text if body.as_sent is None else body.as_sent


def rewritten(body: Body, text: bytes) -> Body | Refusal:
    """Return the body with this text for the one that was sent; its value was changed alike."""
    if text is sent(body):
        return body
    return Body(body.value, text) if body.as_sent is None else parse(text, len(text))


def _spelt(name: bytes) -> bytes:
    """Return a pattern of all ways in which JSON can write this name of letters."""
    letters = [rb"(?:%c|\\u00(?i:%02x))" % (letter, letter) for letter in name]
    return b'"%b"' % b"".join(letters)


def _plain_span(text: bytes, found: re.Match[bytes]) -> _Span:
    """Return what to cut of a member that is not beside another one that is cut."""
    start, end = found.span()
    if found[1]:
        return start, end
    before = start - 1
    while text[before] in _BLANKS:
        before -= 1
    return (before if text[before] == _COMMA else start), end


def _cut(text: bytes, spans: Iterable[_Span]) -> bytes:
    pieces, at = [], 0
    for start, end in spans:
        pieces.append(text[at:start])
        at = end
    return b"".join([*pieces, text[at:]]) if pieces else text


class _Members:
    """The members of an object, one after the other, of which some are cut."""

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

    def ended(self, at: int, *, cut: bool, by_comma: bool) -> _Span | None:
        """Return what to cut, now that a member has ended here; None if it stays, unless it is to be `cut`."""
        span = None
        if self.name and cut:
            span = (self._comma, at) if self._follows else (self._start, at + by_comma)
        elif self.name:
            self._follows = True
        self.name, self._comma = b"", at
        return span


_LIST = object()
_OTHER = object()
