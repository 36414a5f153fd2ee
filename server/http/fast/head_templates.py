"""Templates for heads that equal a checked one except in values that decide nothing: a trace, signature, id or length.

A sender's heads have the same lines in the same order, most of them byte for byte. Of such a head only the lines that
vary are checked: the same name in the same place, and a value of valid characters. All else that `head.py` checks is as
in the head that the template was made from. A test compares the two byte by byte.
"""

import re
from collections.abc import Sequence

from server.http.fast.ingest_head import IngestHead
from server.http.head import LENGTH_DIGITS_MAX, VALUE, Header
from server.http.remote import Network, remote_address
from server.intake.headers import with_changed
from server.intake.intake import DeliveryHead

TEMPLATE_BYTES_MAX = 2048
TEMPLATE_LINES_MAX = 32
"""A head beyond either has no template. Cheap to keep, and far below the limits on heads and on kept headers."""
TEMPLATES_MAX = 512
PIECES_MAX = 4096
PIECE_BYTES_MAX = 256
"""Of pieces seen twice, and of pieces seen once; a longer one counts as new each time."""
LEARN_EVERY = 8
"""One head in this many is learned from: learning costs as much as checking, even if heads never share a template."""

CONTENT_LENGTH = b"content-length"
DECISIVE = frozenset(
    b"authorization connection content-encoding content-type expect host origin transfer-encoding".split(),
)
"""These decide how a request is read and whether it is admitted: another value needs another template."""

Varying = tuple[int, bytes, bytes]
"""A line that varies: its index, its start, and the header's name."""

_is_value = re.compile(VALUE).fullmatch


class HeadTemplate:
    """What the matching heads have in common, and where they differ."""

    __slots__ = ("_headers", "_length_at", "_length_start", "_model", "_varying", "is_repeated")

    def __init__(self, model: IngestHead, headers: Sequence[Header], varying: Sequence[Varying]) -> None:
        self._model = model
        self._headers = headers
        self._varying = [(at, start, len(start), name) for at, start, name in varying if name != CONTENT_LENGTH]
        lengths = [(at, start) for at, start, name in varying if name == CONTENT_LENGTH]
        self._length_at, self._length_start = lengths[0] if lengths else (0, b"")
        self.is_repeated = not self._varying
        """Whether its heads differ at most in the length, so that each may be repeated."""

    def fill(self, peer: str, lines: Sequence[bytes], trusted_proxies: Sequence[Network]) -> IngestHead | None:
        """Return the head of these lines; None if they do not match after all."""
        model = self._model.head
        headers = list(self._headers)
        changed = []
        for at, start, size, name in self._varying:
            line = lines[at]
            value = line[size:].strip(b" \t")
            if not line.startswith(start) or not _is_value(value):
                return None
            headers[at - 1] = header = (name, value)
            changed.append(header)
        length = model.content_length
        if at := self._length_at:
            line = lines[at]
            value = line[len(self._length_start) :].strip(b" \t")
            if not line.startswith(self._length_start) or not value.isdigit() or len(value) > LENGTH_DIGITS_MAX:
                return None
            length = int(value)
        head = DeliveryHead(
            model.source_id,
            model.authorization,
            with_changed(model.scanned, changed, headers) if changed else model.scanned,
            length,
            remote_address(peer, headers, trusted_proxies),
            model.route,
            model.origin,
            model.query,
        )
        return IngestHead(head, self._model.is_last, self._model.expects_continue)


class HeadTemplates:
    """Templates by the lines that do not vary, which are those seen twice.

    Bounded: a full table is cleared and learned anew. Lines that are never repeated do not displace those that are.
    """

    def __init__(self) -> None:
        self._templates: dict[tuple[bytes | None, ...], HeadTemplate] = {}
        self._seen_once: set[bytes] = set()
        self._seen_twice = {b"": b""}
        self._heads_seen = 0

    @property
    def counts(self) -> tuple[int, int, int]:
        """The numbers of templates, of pieces seen once, and of pieces seen twice."""
        return len(self._templates), len(self._seen_once), len(self._seen_twice)

    def find(self, lines: Sequence[bytes]) -> HeadTemplate | None:
        """Return the template that these lines, without their line ends, may match."""
        return self._templates.get(tuple(map(self._seen_twice.get, lines)))

    def learn(self, lines: Sequence[bytes], head: IngestHead, headers: Sequence[Header]) -> None:
        """Make a template from a checked head once its lines and names were seen; looks at one head in LEARN_EVERY."""
        self._heads_seen += 1
        if self._heads_seen % LEARN_EVERY:
            return
        is_plain = 0 < len(lines) <= TEMPLATE_LINES_MAX and len(dict(headers)) == len(headers)
        if not is_plain or not self._seen_before(lines[0]):
            return
        key: list[bytes | None] = [*lines]
        varying: list[Varying] = []
        fits_others = True
        for at, (name, _) in enumerate(headers, 1):
            line = lines[at]
            if name != CONTENT_LENGTH and self._seen_before(line):
                continue
            start = line[: len(name) + 1]
            fits_others &= name not in DECISIVE and self._seen_before(start)
            key[at] = None
            varying.append((at, start, name))
        if fits_others:
            if len(self._templates) >= TEMPLATES_MAX:
                self._templates.clear()
            self._templates[tuple(key)] = HeadTemplate(head, headers, varying)

    def _seen_before(self, piece: bytes) -> bool:
        """Return whether this line, or start of a line, was seen before; note that it was seen now."""
        if piece in self._seen_twice:
            return True
        if piece in self._seen_once:
            self._seen_once.remove(piece)
            if len(self._seen_twice) >= PIECES_MAX:
                self._seen_twice = {b"": b""}
                self._templates.clear()
            self._seen_twice[piece] = piece
            return True
        if len(piece) <= PIECE_BYTES_MAX:
            if len(self._seen_once) >= PIECES_MAX:
                self._seen_once.clear()
            self._seen_once.add(piece)
        return False
