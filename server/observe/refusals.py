"""Refused requests: counted for each source, and the last of them on record, each with the reason in words.

Guarantees: no request waits for the record or fails by it; what it costs is bounded, however many are refused. Of
strangers one refusal a second and source is recorded, of known senders a few; how many there were in between is in the
next record. The words are for whoever runs the server: no sender hears more than its code.
"""

import base64
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from server.base import log
from server.base.clock import Clock
from server.base.refusal import STATUS
from server.base.wakeup import Wakeup
from server.base.worker import Worker
from server.intake.events import rfc3339
from storage.frozen import frozen
from storage.refusals.records import RefusalRecord
from storage.refusals.ring_file import RING_RECORDS, RingFile, forget

STRANGERS_NS = 1_000_000_000
"""Between two records of strangers at a source: a flood of them writes 8 KiB a second."""
KNOWN_NS = 100_000_000
"""The same of known senders: somebody who tries things out sees each try."""
WAITING_MAX = 256
"""Records that may wait for the disk. What finds no room is lost, and counted."""

REFUSALS_MAX = 2 * RING_RECORDS
"""As many as there may be of a source."""

_WITHOUT_SOURCE = ("forbidden", "expired", "forgotten", "not_found", "method_not_allowed", "headers_too_large")
CODES = tuple(code for code in STATUS if code not in _WITHOUT_SOURCE)
"""With which a request that names a source may be refused."""

Value = dict[str, object]


@frozen
class Grounds:
    """Why a delivery was refused, and what is recorded of it."""

    source_id: str
    """The source that it named; "" if there is none of this id."""
    why: str
    is_known: bool = False
    """Whether its sender was, by a token, or by a signature where there are no tokens."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those that are kept of a delivery that is accepted, too."""
    body: bytes = b""
    """As much of it as is recorded; b"" unless all that authenticates its sender was right."""
    body_bytes: int = 0
    """The size of the whole."""


@dataclass(slots=True)
class _Ring:
    """How often refusals of one kind of sender are recorded."""

    interval_ns: int
    next_ns: int = 0
    suppressed: int = 0

    def is_due(self, now_ns: int) -> bool:
        """Return whether this one is recorded; count it if not."""
        if now_ns < self.next_ns:
            self.suppressed += 1
            return False
        self.next_ns = now_ns + self.interval_ns
        return True


@dataclass(slots=True)
class _Refused:
    """What is known of one source since the start."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CODES, 0))
    known: _Ring = field(default_factory=lambda: _Ring(KNOWN_NS))
    strangers: _Ring = field(default_factory=lambda: _Ring(STRANGERS_NS))


class Refusals:
    """Made inside `trio.run`; `run` is its task. `note` may be called at any time."""

    def __init__(self, path: Path, source_ids: Sequence[str], worker: Worker, clock: Clock) -> None:
        """`path`: the store's directory; `source_ids`: those that are configured at the start."""
        self._path = path
        self._source_ids = source_ids
        self._worker = worker
        self._clock = clock
        self._refused: dict[str, _Refused] = {}
        self._waiting: deque[RefusalRecord] = deque()
        self._came = Wakeup()
        self._file: RingFile | None = None
        self._failures = log.Throttled("tidegate", "refusals cannot be recorded")
        self.lost = 0
        """Records that found no room, in memory or on the disk, since the start."""

    def note(self, status: int, code: str, remote_addr: str, line: tuple[str, str], grounds: Grounds) -> None:
        """Count a refused request, and record it if it is its turn: the same work for a source that does not exist.

        `line`: its method and path.
        """
        refused = self._refused.get(grounds.source_id)
        if refused is None:
            refused = self._refused[grounds.source_id] = _Refused()
        refused.counts[code] = refused.counts.get(code, 0) + 1
        ring = refused.known if grounds.is_known else refused.strangers
        if not ring.is_due(self._clock.monotonic_ns()) or not grounds.source_id:
            return
        if len(self._waiting) >= WAITING_MAX:
            self.lost += 1
            return
        suppressed, ring.suppressed = ring.suppressed, 0
        self._waiting.append(
            RefusalRecord(
                source_id=grounds.source_id,
                at_ms=self._clock.now_ms(),
                status=status,
                code=code,
                why=grounds.why,
                is_known=grounds.is_known,
                remote_addr=remote_addr,
                method=line[0],
                path=line[1],
                headers=grounds.headers,
                body=grounds.body,
                body_bytes=grounds.body_bytes,
                suppressed=suppressed,
            )
        )
        self._came.notify()

    def counts(self, source_id: str) -> dict[str, int]:
        """Return how many requests of a source were refused since the start, by each code that there is."""
        refused = self._refused.get(source_id)
        return dict.fromkeys(CODES, 0) if refused is None else dict(refused.counts)

    @property
    def waiting(self) -> int:
        """How many records wait for the disk."""
        return len(self._waiting)

    async def run(self) -> None:
        """Write for ever. Ends only by cancellation."""
        while True:
            await self._came.wait()
            await self.flush()

    async def flush(self) -> None:
        """Return when all that was noted before is in the file, or lost."""
        found, self._waiting = self._waiting, deque()
        error = await self._worker.run(self._write, found)
        self.lost += len(found)
        if error is not None:
            self._failures.warn("refusals", error=str(error))

    async def read(self, source_id: str, limit: int) -> list[RefusalRecord]:
        """Return the last refusals of a source, the newest first: all that were noted before."""
        await self.flush()
        return await self._worker.run(lambda: self._opened().read(source_id, limit))

    async def forget(self, source_id: str) -> None:
        """Take bodies and headers out of all that is on record of a source. Raises OSError."""
        await self.flush()
        await self._worker.run(forget, self._path, source_id)

    def _write(self, found: deque[RefusalRecord]) -> OSError | None:
        return self._opened().write(found) if found else None

    def _opened(self) -> RingFile:
        """Return the file; what it holds is found out at the first use, in the worker."""
        if self._file is None:
            self._file = RingFile(self._path, self._source_ids)
        return self._file


def describe(record: RefusalRecord) -> Value:
    """Return a record as JSON-able values; a body that is no text is in base64."""
    found: Value = {
        "source_config_id": record.source_id,
        "refused_at": rfc3339(record.at_ms),
        "status": record.status,
        "code": record.code,
        "why": record.why,
        "sender": "known" if record.is_known else "stranger",
        "remote_addr": record.remote_addr,
        "method": record.method,
        "path": record.path,
        "headers": dict(record.headers),
        "suppressed": record.suppressed,
    }
    if record.body_bytes:
        found |= _body(record.body) | {"body_bytes": record.body_bytes}
    return found


def _body(body: bytes) -> Value:
    """Return what is kept of a body; it may have been cut inside a character."""
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError as error:
        is_cut = error.reason == "unexpected end of data"
        return {"body": body[: error.start].decode()} if is_cut else {"body_base64": base64.b64encode(body).decode()}
