"""Where the text of a JSON body has a member that is a secret, whatever else is in it.

The text is read from member to member, and what is of no interest is passed over at C speed: who may send can send a
body full of oddities.
"""

import re

STRING = rb'"(?:[^"\\]++|\\(?s:.))*+"'
BLANK = rb"[ \t\n\r]*+"
BLANKS, COMMA = b" \t\n\r", b","[0]

Span = tuple[int, int]

_OBJECT, _ARRAY = b"{["
_OPENING = b"{["

_LEVELS = 3
"""Of containers that are passed over at once; one that nests deeper is entered."""


def spelt(name: bytes) -> bytes:
    """Return a pattern of all ways in which JSON can write this name of letters."""
    letters = [rb"(?:%c|\\u00(?i:%02x))" % (letter, letter) for letter in name]
    return b'"%b"' % b"".join(letters)


def _inside(levels: int) -> bytes:
    """Return a pattern of what is in a container, up to a bracket that ends it or opens the level after these."""
    inner = rb"|[{\[]%b[}\]]" % _inside(levels - 1) if levels else b""
    return rb"(?:[^\"{}\[\]]++|%b%b)*+" % (STRING, inner)


_SCALAR = rb"%b|[^\"{}\[\],]++" % STRING
_VALUE = rb"(?:%b|[{\[]%b[}\]])" % (_SCALAR, _inside(_LEVELS))

_blanks = re.compile(BLANK).match
_scalar = re.compile(_SCALAR).match
_up_to_bracket = re.compile(_inside(_LEVELS)).match
_name = re.compile(rb"%b(%b)%b:%b" % (BLANK, STRING, BLANK, BLANK)).match


def _members(name: bytes) -> bytes:
    """Return a pattern of members, one after the other, whose names are as this one says."""
    return rb"(?:%b%b%b:%b%b%b(?:,|(?=\})))*+" % (BLANK, name, BLANK, BLANK, _VALUE, BLANK)


class SecretSpans:
    """Finds a member by its name: in each item of the body's list of that name, and perhaps in the body itself."""

    def __init__(self, name: bytes, list_name: bytes, *, in_body: bool) -> None:
        secret, listed = spelt(name), spelt(list_name)
        opened = rb"%b%b:%b\[" % (listed, BLANK, BLANK)
        in_item = _members(rb"(?!%b)%b" % (secret, STRING))
        beside_list = rb"%b|%b" % (secret, opened) if in_body else opened
        self._in_body = in_body
        self._is_it = re.compile(secret).fullmatch
        self._is_list = re.compile(listed).fullmatch
        self._secrets = re.compile(_members(secret)).match
        self._others_of_item = re.compile(in_item).match
        self._others_of_body = re.compile(_members(rb"(?!%b)%b" % (beside_list, STRING))).match
        self._up_to_item = re.compile(
            rb"(?:[^\"{}\[\]]++|%b|\[%b\]|\{%b%b\})*+" % (STRING, _inside(_LEVELS), in_item, BLANK)
        ).match

    def of(self, text: bytes) -> list[Span]:
        """Return where the text of valid JSON has it, each with one comma beside it."""
        spans: list[Span] = []
        at = _end(_blanks(text))
        if text[at] == _OBJECT:
            self._object(text, at, spans, is_body=True)
        return spans

    def _object(self, text: bytes, at: int, spans: list[Span], *, is_body: bool) -> int:
        """Note those of the object that begins here; return what is behind it."""
        others = self._others_of_body if is_body else self._others_of_item
        comma, at, follows = at, at + 1, False
        while True:
            passed = _end(others(text, at))
            if passed > at:
                comma, at, follows = passed - 1, passed, True
            named = _name(text, at)
            if named is None:
                return text.index(b"}", at) + 1
            is_it = (self._in_body or not is_body) and self._is_it(named[1])
            end = _end(self._secrets(text, at)) if is_it else at
            if end == at:  # it nests deep, or is the list
                end = self._value(text, named, spans, is_body=is_body)
            goes_on = text[end - 1] == COMMA
            if is_it:
                spans.append((comma, end - goes_on) if follows else (named.start(1), end))
            comma, at, follows = end - 1, end, follows or not is_it

    def _value(self, text: bytes, named: re.Match[bytes], spans: list[Span], *, is_body: bool) -> int:
        """Note those in the value of this name, if that is the list; return what is behind it and its comma."""
        at = named.end()
        is_list = is_body and text[at] == _ARRAY and self._is_list(named[1])
        end = self._array(text, at, spans) if is_list else behind(text, at)
        end = _end(_blanks(text, end))
        return end + (text[end] == COMMA)

    def _array(self, text: bytes, at: int, spans: list[Span]) -> int:
        """Note those of the objects in the list that begins here; return what is behind it."""
        at = _end(self._up_to_item(text, at + 1))
        while text[at] in _OPENING:
            is_item = text[at] == _OBJECT
            end = self._object(text, at, spans, is_body=False) if is_item else behind(text, at)
            at = _end(self._up_to_item(text, end))
        return at + 1


def behind(text: bytes, at: int) -> int:
    """Return what is behind the value that begins here."""
    if text[at] not in _OPENING:
        return _end(_scalar(text, at))
    depth = 0
    while True:
        depth += 1 if text[at] in _OPENING else -1
        at += 1
        if not depth:
            return at
        at = _end(_up_to_bracket(text, at))


def _end(found: re.Match[bytes] | None) -> int:
    """Return where a match ends that valid JSON cannot do without."""
    assert found is not None
    return found.end()
