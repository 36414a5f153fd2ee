"""Bodies on the routes of SDKs: the write key is found and taken out, and one event gets the type of its route.

What is kept has the key nowhere, and all else as it was sent, byte for byte: numbers keep all their digits. In the
usual body every `"writeKey"` is one of the members that the parser found, so those are cut. Where the numbers differ,
since another member further down has that name, or for another oddity, the text is read from member to member, and
those of no interest are passed over at C speed: whoever has a key can send a body full of oddities.
"""

import re
from collections.abc import Iterable
from typing import Any

from server.base.refusal import Refusal
from server.intake.parse import Body, parse

WRITE_KEY = "writeKey"

_STRING = rb'"(?:[^"\\]++|\\(?s:.))*+"'
_BLANK = rb"[ \t\n\r]*+"


def _spelt(name: bytes) -> bytes:
    """Return a pattern of all ways in which JSON can write this name of letters."""
    letters = [rb"(?:%c|\\u00(?i:%02x))" % (letter, letter) for letter in name]
    return b'"%b"' % b"".join(letters)


_PLAIN = b'"%b"' % WRITE_KEY.encode()
_member = re.compile(rb"%b%b:%b(?:%b|[a-z0-9.E+-]++)(%b,)?" % (_PLAIN, _BLANK, _BLANK, _STRING, _BLANK))
_letter = re.compile(rb"\\u00(?i:%b)" % b"|".join(b"%02x" % letter for letter in WRITE_KEY.encode()))
_shown = re.compile(rb"(%b%b:%b\"?)(?:[^\"\\]++|\\(?s:.))*+" % (_spelt(WRITE_KEY.encode()), _BLANK, _BLANK))
_is_key = re.compile(_spelt(WRITE_KEY.encode())).fullmatch
_is_batch = re.compile(_spelt(b"batch")).fullmatch

_LEVELS = 3
"""Of containers that are passed over at once; one that nests deeper is entered."""


def _inside(levels: int) -> bytes:
    """Return a pattern of what is in a container, up to a bracket that ends it or opens the level after these."""
    inner = rb"|[{\[]%b[}\]]" % _inside(levels - 1) if levels else b""
    return rb"(?:[^\"{}\[\]]++|%b%b)*+" % (_STRING, inner)


_SCALAR = rb"%b|[^\"{}\[\],]++" % _STRING
_OTHER_NAME = rb"(?!%b|%b)%b" % (_spelt(WRITE_KEY.encode()), _spelt(b"batch"), _STRING)
_VALUE = rb"(?:%b|[{\[]%b[}\]])" % (_SCALAR, _inside(_LEVELS))
_blanks = re.compile(_BLANK).match
_scalar = re.compile(_SCALAR).match
_up_to_bracket = re.compile(_inside(_LEVELS)).match
_MEMBERS = rb"(?:%b%b%b:%b%b%b(?:,|(?=\})))*+"
_other_members = re.compile(_MEMBERS % (_BLANK, _OTHER_NAME, _BLANK, _BLANK, _VALUE, _BLANK)).match
_keys = re.compile(_MEMBERS % (_BLANK, _spelt(WRITE_KEY.encode()), _BLANK, _BLANK, _VALUE, _BLANK)).match
_name = re.compile(rb"%b(%b)%b:%b" % (_BLANK, _STRING, _BLANK, _BLANK)).match
_up_to_item = re.compile(rb"(?:[^\"{}\[\]]++|%b|\[%b\])*+" % (_STRING, _inside(_LEVELS))).match

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


def prepared(body: Body, kind: str, items_max: int) -> Body | Refusal:
    """Return the body without the keys of batch and items; one event without a type gets this one, if it is not "".

    A batch of more items than `items_max` is returned as it is: it is refused for that.
    """
    text = body.text if body.as_sent is None else body.as_sent
    objects = _objects(body.value)
    if len(objects) > 1 + items_max:
        return body
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


def _spans(text: bytes) -> list[Span]:
    """Return where the text of valid JSON has keys, each with one comma beside it."""
    spans: list[Span] = []
    at = _end(_blanks(text))
    if text[at] == b"{"[0]:
        _object(text, at, spans, is_body=True)
    return spans


def _object(text: bytes, at: int, spans: list[Span], *, is_body: bool) -> int:
    """Note the keys of the object that begins here; return what is behind it."""
    comma, at, follows = at, at + 1, False
    while True:
        passed = _end(_other_members(text, at))
        if passed > at:
            comma, at, follows = passed - 1, passed, True
        named = _name(text, at)
        if named is None:
            return text.index(b"}", at) + 1
        is_key = _is_key(named[1])
        end = _end(_keys(text, at)) if is_key else at
        if end == at:  # it nests deep, or is a batch
            is_batch = is_body and text[named.end()] == b"["[0] and _is_batch(named[1])
            end = _array(text, named.end(), spans) if is_batch else _behind(text, named.end())
            end = _end(_blanks(text, end))
            end += text[end] == _COMMA
        goes_on = text[end - 1] == _COMMA
        if is_key:
            spans.append((comma, end - goes_on) if follows else (named.start(1), end))
        comma, at, follows = end - 1, end, follows or not is_key


def _array(text: bytes, at: int, spans: list[Span]) -> int:
    """Note the keys of the objects in the batch that begins here; return what is behind it."""
    at = _end(_up_to_item(text, at + 1))
    while text[at] in _OPENING:
        behind = _object(text, at, spans, is_body=False) if text[at] == b"{"[0] else _behind(text, at)
        at = _end(_up_to_item(text, behind))
    return at + 1


def _behind(text: bytes, at: int) -> int:
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
