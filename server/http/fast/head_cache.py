"""A cache of heads: the same bytes from the same peer are not parsed again.

Of a head that varies each time, the template that it shares with others is kept instead.
"""

from collections.abc import Iterator, Sequence

from server.base.refusal import Refusal
from server.http.fast.head_templates import TEMPLATE_BYTES_MAX, HeadTemplates
from server.http.fast.ingest_head import IngestHead, OtherRequest, ingest_head
from server.http.head import RequestHead, complete_head
from server.http.remote import Network

HEADS_MAX = 1024
"""Recent heads, and as many older ones: senders repeat theirs, except for the body's length."""
HEAD_BYTES_REMEMBERED_MAX = 1024
"""A longer head is parsed each time, so that the cache takes a few MB at most."""


class HeadCache:
    """Heads by peer and exact bytes. Bounded: when full, the older half is dropped."""

    def __init__(self, trusted_proxies: Sequence[Network]) -> None:
        self._trusted_proxies = trusted_proxies
        self._templates = HeadTemplates()
        self._young: dict[tuple[str, bytes], IngestHead] = {}
        self._old: dict[tuple[str, bytes], IngestHead] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __iter__(self) -> Iterator[IngestHead]:
        yield from (*self._young.values(), *self._old.values())

    def read(self, peer: str, raw: bytes) -> IngestHead | Refusal | OtherRequest | None:
        """Return what this complete head asks for. `raw` ends with its blank line."""
        key = (peer, raw)
        found = self._young.get(key) or self._old.get(key)
        if found is not None:
            return found
        lines = raw.split(b"\r\n") if len(raw) <= TEMPLATE_BYTES_MAX else []
        template = self._templates.find(lines)
        if template is not None and (filled := template.fill(peer, lines, self._trusted_proxies)) is not None:
            if template.is_repeated:
                self._remember(key, filled)
            return filled
        return self._parse(key, lines)

    def _parse(self, key: tuple[str, bytes], lines: Sequence[bytes]) -> IngestHead | Refusal | OtherRequest | None:
        """Do the same for a head that neither the cache nor a template has."""
        peer, raw = key
        request = complete_head(raw)
        if not isinstance(request, RequestHead):
            return request
        made = ingest_head(peer, request, self._trusted_proxies)
        if isinstance(made, IngestHead):
            self._remember(key, made)
            self._templates.learn(lines, made, request.fields.lines)
        return made

    def _remember(self, key: tuple[str, bytes], head: IngestHead) -> None:
        if len(key[1]) > HEAD_BYTES_REMEMBERED_MAX:
            return
        if len(self._young) >= HEADS_MAX:
            self._old, self._young = self._young, {}
        self._young[key] = head
