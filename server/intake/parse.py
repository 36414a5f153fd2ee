"""Parses JSON as senders write it, at a cost that is bounded before the parser starts.

A byte order mark before it is skipped. Half a surrogate pair as an escape, which is left where a text was cut by its
length, becomes U+FFFD: JSON's grammar allows it, UTF-8 and orjson do not, and one such item must not cost its batch.
"""

import re

import orjson

from server.base.refusal import Refusal, refuse
from storage.frozen import frozen

BODY_DEPTH_MAX = 250
"""How deep a body may nest. orjson reads 1024 levels and writes 254; what is accepted must be printable."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_HIGH = rb"[89abAB][0-9a-fA-F]{2}"
_LOW = rb"[c-fC-F][0-9a-fA-F]{2}"
_HALF = re.compile(rb"\\u[dD](?:%b(?!\\u[dD]%b)|%b(?<!\\u[dD]%b\\u[dD]%b))" % (_HIGH, _LOW, _LOW, _HIGH, _LOW))
"""Begins with what each begins with: so the text between them is passed over at once."""
_ESCAPED_BACKSLASH = rb"\\"
_MASK = b"\0\0"
"""Takes the place of an escaped backslash, so that any other one begins an escape; no JSON holds these bytes."""
_REPLACEMENT = rb"\\ufffd"
_NONCHARACTER = rb"\\ufffe"
"""Templates of what replaces a half: an escape of the same length, so that no limit is passed by it."""


@frozen
class Body:
    """A body that is JSON."""

    value: object
    text: bytes
    """What is archived: without a byte order mark, and repaired."""
    as_sent: bytes | None = None
    """The text before it was repaired; None if it needed no repair."""
    other_value: object = None
    """The value under another repair: a string that differs from that of `value` held half a surrogate pair."""


def parse(text: bytes, json_containers_max: int) -> Body | Refusal:
    """Return the parsed body; `invalid_json` if it is not JSON or nests too deep, `too_large` for too many containers.

    Brackets inside strings count as containers: this bounds the work without parsing.
    """
    sent_bytes = len(text)
    text = text.removeprefix(_BYTE_ORDER_MARK)
    if len(text) > json_containers_max and text.count(b"[") + text.count(b"{") > json_containers_max:
        return refuse("too_large", f"the body holds more than {json_containers_max} arrays and objects")
    try:
        body = _load(text)
    except orjson.JSONDecodeError as error:
        if not text:
            return refuse("invalid_json", "the body is empty")
        at, words = _mistake(text, error)
        return refuse("invalid_json", f"the body is not JSON at byte {sent_bytes - len(text) + at}: {words}")
    if len(text) > 2 * BODY_DEPTH_MAX and not _printable(body.value):
        return refuse("invalid_json", f"the body nests deeper than {BODY_DEPTH_MAX} levels")
    return body


def _mistake(text: bytes, error: orjson.JSONDecodeError) -> tuple[int, str]:
    """Return the byte, from 0, at which a text is not JSON, and why. The parser counts characters."""
    try:
        return len(text.decode()[: error.pos].encode()), error.msg
    except UnicodeDecodeError as bad:
        return bad.start, "it is not UTF-8"


def _load(text: bytes) -> Body:
    try:
        return Body(orjson.loads(text), text)
    except ValueError:
        if _MASK[:1] in text:
            raise
        masked = text.replace(_ESCAPED_BACKSLASH, _MASK)
        repaired = _repair(masked, _REPLACEMENT)
        if repaired == text:
            raise
    return Body(orjson.loads(repaired), repaired, text, orjson.loads(_repair(masked, _NONCHARACTER)))


def _repair(masked: bytes, replacement: bytes) -> bytes:
    """Replace each half of a surrogate pair, all at C speed."""
    return _HALF.sub(replacement, masked).replace(_MASK, _ESCAPED_BACKSLASH)


def _printable(parsed: object) -> bool:
    """Check the depth by writing: a fifth of the cost of reading, and the only exact check at C speed."""
    try:
        orjson.dumps([[[[parsed]]]])
    except TypeError:
        return False
    return True
