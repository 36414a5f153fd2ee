"""The job of the Python peers, as in the other languages: everything but HTTP.

Bearer check → parse → normalise to the nine fields → rate limit → (group commit) dedup, archive and receipt.
`archive`: number → the normalised event. `receipts`: digest of source and id, and number → the receipt.
"""

import gzip
import hashlib
import hmac
import itertools
import re
import secrets
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lmdb
import orjson

BODY_BYTES_MAX = 1 << 20
MAP_BYTES = 64 << 30
EVENTS_PER_SECOND = 10_000_000
SECOND_NS = 1_000_000_000

ID_HEADERS = ("webhook-id", "svix-id", "x-github-delivery", "x-shopify-webhook-id", "idempotency-key")
KEPT = ("content-type", "user-agent", "traceparent")
SECRET = re.compile("auth|token|secret|sign|hmac|password|cookie|session|credential|api-key|apikey|access-key")
SEGMENT_TYPES = frozenset(("track", "identify", "page", "screen", "group", "alias"))


class RefusedError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, code: str) -> None:
        self.status = status
        self.body = orjson.dumps({"code": code, "message": code})


@dataclass(slots=True)
class Delivery:
    """One admitted request."""

    id: str
    source: str
    events: list[dict[str, Any]]
    rejected: list[dict[str, Any]] = field(default_factory=list)
    deferred: int = 0

    def answer(self) -> bytes:
        said = {"status": "accepted", "accepted": len(self.events), "deferred": self.deferred, "dropped": 0}
        said |= {"rejected": self.rejected, "delivery": self.id}
        return orjson.dumps(said | {"success": True} if self.source == "segment" else said)


class Gcra:
    """At most one second's worth at once."""

    def __init__(self) -> None:
        self.cost = SECOND_NS // EVENTS_PER_SECOND
        self.full_at = 0

    def take(self, n: int) -> int:
        now = time.monotonic_ns()
        full_at = max(self.full_at, now)
        fits = min(n, (now + SECOND_NS - full_at) // self.cost)
        self.full_at = full_at + fits * self.cost
        return fits


class Intake:
    """Bytes in, a delivery or a refusal out."""

    def __init__(self, token: str) -> None:
        self._token_digest = hashlib.sha256(token.encode()).digest()
        self._limits = {"webhook": Gcra(), "segment": Gcra()}
        self._start = secrets.token_hex(3)
        self._count = itertools.count(1)

    def check(self, method: str, path: str, authorization: str) -> str:
        """The source. Raises RefusedError."""
        if not path.startswith("/ingest/inbound/"):
            raise RefusedError(404, "not_found")
        if method != "POST":
            raise RefusedError(405, "method_not_allowed")
        source = path[16:]
        digest = hashlib.sha256(authorization.removeprefix("Bearer ").encode()).digest()
        if not hmac.compare_digest(digest, self._token_digest) or source not in self._limits:
            raise RefusedError(401, "unauthorized")
        return source

    def read(self, source: str, headers: Iterable[tuple[str, str]], body: bytes, remote: str) -> Delivery:
        """Raises RefusedError."""
        if len(body) > BODY_BYTES_MAX:
            raise RefusedError(413, "too_large")
        found = dict(headers)
        encoding = found.get("content-encoding")
        try:
            parsed = orjson.loads(gzip.decompress(body) if encoding == "gzip" else body)
        except orjson.JSONDecodeError:
            raise RefusedError(400, "invalid_json") from None
        except (OSError, EOFError):
            raise RefusedError(400, "invalid_encoding") from None
        delivery = Delivery(f"{next(self._count):013d}-{self._start}", source, [])
        self._events(delivery, found, parsed, remote)
        if not delivery.events:
            raise RefusedError(400, "invalid_event")
        admitted = self._limits[source].take(len(delivery.events))
        delivery.deferred = len(delivery.events) - admitted
        del delivery.events[admitted:]
        return delivery

    def _events(self, delivery: Delivery, headers: dict[str, str], parsed: Any, remote: str) -> None:
        items, batched, shared = [parsed], False, {}
        if delivery.source == "webhook":
            if isinstance(parsed, list):
                items, batched = parsed, True
        elif isinstance(parsed, dict) and isinstance(parsed.get("batch"), list):
            items, batched = parsed["batch"], True
            shared = {key: parsed[key] for key in ("context", "integrations") if key in parsed}
        kept = {name: value for name, value in headers.items() if _kept(name)}
        header_id = None if batched else next(((n, headers[n]) for n in ID_HEADERS if n in headers), None)
        received_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for index, item in enumerate(items):
            read = _segment if delivery.source == "segment" else _webhook
            facts = read(item, header_id) if isinstance(item, dict) else None
            if facts is None:
                delivery.rejected.append({"index": index, "code": "invalid_event", "message": "no event"})
                continue
            event_id, id_from, provider_id, kind, payload = facts
            meta = {"id_from": id_from, "batch_index": index, "batch_size": len(items), "delivery": delivery.id}
            delivery.events.append(
                {
                    "inbound_event_id": event_id or f"{delivery.id}-{index}",
                    "source_config_id": delivery.source,
                    "source_type": delivery.source,
                    "provider_event_id": provider_id,
                    "event_type": kind,
                    "received_at": received_at,
                    "payload": {**shared, **payload} if shared else payload,
                    "headers": kept,
                    "meta": meta | {"remote_addr": remote},
                }
            )


def _kept(name: str) -> bool:
    return (name in KEPT or name.startswith(("x-", "webhook-"))) and not SECRET.search(name)


def _segment(item: dict[str, Any], _: object) -> tuple[str | None, str, str | None, str, Any] | None:
    kind, event_id = item.get("type"), _text(item.get("messageId"))
    if kind not in SEGMENT_TYPES:
        return None
    return event_id, "body.messageId" if event_id else "generated", event_id, kind, item


def _webhook(
    item: dict[str, Any], header: tuple[str, str] | None
) -> tuple[str | None, str, str | None, str, Any] | None:
    kind = item.get("event_type", "unknown")
    if not isinstance(kind, str) or not 0 < len(kind) <= 256:
        return None
    event_id, id_from = _text(item.get("inbound_event_id")), "body.inbound_event_id"
    provider_id = _text(item.get("provider_event_id")) or _text(item.get("id"))
    if event_id is None:
        event_id, id_from = (header[1], f"header.{header[0]}") if header else (None, "generated")
    return event_id, id_from, provider_id, kind, item.get("payload", item)


def _text(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    return value if isinstance(value, str) and 0 < len(value) <= 512 else None


class Archive:
    """The store. One thread writes; `commit` makes a group durable."""

    def __init__(self, directory: str) -> None:
        Path(directory).mkdir(parents=True, exist_ok=True)
        self._env = lmdb.open(directory, map_size=MAP_BYTES, max_dbs=2)
        self._archive = self._env.open_db(b"archive")
        self._receipts = self._env.open_db(b"receipts")
        self._number = 0
        self._seen: set[bytes] = set()
        self.thread = ThreadPoolExecutor(1)
        with self._env.begin(db=self._receipts) as txn:
            for key in txn.cursor().iternext(values=False):
                self._seen.add(bytes(key[:16]))
                self._number = max(self._number, int.from_bytes(key[16:], "big"))

    def commit(self, group: list[Delivery]) -> None:
        """One transaction, one fsync."""
        archive, receipts, fresh = [], [], set()
        number = self._number
        finished_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for delivery in group:
            for event in delivery.events:
                number += 1
                event["meta"]["number"] = number
                event_id = event["inbound_event_id"]
                digest = hashlib.blake2b(f"{delivery.source}\0{event_id}".encode(), digest_size=16).digest()
                duplicate = digest in self._seen or digest in fresh
                fresh.add(digest)
                key = number.to_bytes(8, "big")
                archive.append((key, orjson.dumps(event)))
                receipt = {
                    "inbound_event_id": event_id,
                    "source_config_id": delivery.source,
                    "outcome": "duplicate" if duplicate else "processed",
                    "event_type": event["event_type"],
                    "received_at": event["received_at"],
                    "finished_at": finished_at,
                    "attempts": 1,
                    "delivery": delivery.id,
                    "batch_index": event["meta"]["batch_index"],
                }
                receipts.append((digest + key, orjson.dumps(receipt)))
        receipts.sort()
        with self._env.begin(write=True) as txn:
            txn.cursor(self._archive).putmulti(archive, append=True)
            txn.cursor(self._receipts).putmulti(receipts)
        self._number = number
        self._seen |= fresh
