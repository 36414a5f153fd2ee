"""Members of a body that are secrets, cut out of its text: all else stays as it was sent, byte for byte.

Numbers keep all their digits. In the usual body every member of such a name is one of those that the parser found, so
those are cut. Where the numbers differ, since another member further down has that name, or for another oddity, the
text is read from member to member (`secret_spans.py`).
"""

import re
from collections.abc import Iterable
from typing import Any

from server.base.refusal import Refusal
from server.intake.parse import Body, parse
from server.intake.secret_spans import BLANK, BLANKS, COMMA, STRING, SecretSpans, Span, spelt


class SecretMember:
    """A member that is a secret in each item of the list of this name, and perhaps in the body itself."""

    def __init__(self, name: str, list_name: str, *, in_body: bool) -> None:
        """`name`: ASCII letters, as `list_name`."""
        self.name, self.list_name, self._in_body = name, list_name, in_body
        self._written = name.encode()
        self._plain = b'"%b"' % self._written
        self._member = re.compile(rb"%b%b:%b(?:%b|[a-z0-9.E+-]++)(%b,)?" % (self._plain, BLANK, BLANK, STRING, BLANK))
        self._letter = re.compile(rb"\\u00(?i:%b)" % b"|".join(b"%02x" % letter for letter in self._written))
        self._shown = re.compile(rb"(%b%b:%b\"?)(?:[^\"\\]++|\\(?s:.))*+" % (spelt(self._written), BLANK, BLANK))
        self._spans = SecretSpans(self._written, list_name.encode(), in_body=in_body).of

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

    def taken_out(self, body: Body, items_max: int) -> bytes:
        """Take it out of the body's value; return the text as sent without it, the same object if it was not there.

        A body of more items than `items_max` is left as it is: it is refused for that.
        """
        text = sent(body)
        holders = self.holders(body.value)
        if len(holders) > items_max + self._in_body:
            return text
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


def sent(body: Body) -> bytes:
    """Return the text of a body as it was sent."""
    return body.text if body.as_sent is None else body.as_sent


def rewritten(body: Body, text: bytes) -> Body | Refusal:
    """Return the body with this text for the one that was sent; its value was changed alike."""
    if text is sent(body):
        return body
    return Body(body.value, text) if body.as_sent is None else parse(text, len(text))


def _plain_span(text: bytes, found: re.Match[bytes]) -> Span:
    """Return what to cut of a member that is not beside another one that is cut."""
    start, end = found.span()
    if found[1]:
        return start, end
    before = start - 1
    while text[before] in BLANKS:
        before -= 1
    return (before if text[before] == COMMA else start), end


def _cut(text: bytes, spans: Iterable[Span]) -> bytes:
    pieces, at = [], 0
    for start, end in spans:
        pieces.append(text[at:start])
        at = end
    return b"".join([*pieces, text[at:]]) if pieces else text
