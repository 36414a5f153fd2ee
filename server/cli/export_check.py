"""`verify --export`: is a file what its manifest says, and is what it says in the store?

The store has gone on meanwhile: outcomes came, and events have left by retention. So an event that is not there any
more is one before the front of receipts, and an outcome may have changed if it was not the last. An event may have been
forgotten too: then the file is as it was written, and nobody may want to keep it.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from server.cli.events import described
from server.cli.exit_codes import ERROR
from server.cli.export_file import manifest_path
from server.cli.export_formats import FORMATS
from server.cli.failure import CommandFailed
from server.cli.progress import Progress
from server.observe.exports import Key
from storage.lmdb_store.environment import Store
from storage.read.query import EventQuery
from storage.read.reader import Reader
from storage.read.snapshot import Snapshots
from storage.statuses import EventStatus, outcome_of

PROBLEMS_MAX = 100
"""So many are told; the others are counted."""

READ_BYTES = 2**20

LAST = {status.label for status in (EventStatus.PROCESSED, EventStatus.DUPLICATE, EventStatus.DROPPED)}
"""The outcomes that no other follows."""


@dataclass(slots=True)
class ExportReport:
    """What was found."""

    problems: list[str] = field(default_factory=list)
    problems_left_out: int = 0
    count: int = 0
    first_number: int | None = None
    last_number: int | None = None
    left: int = 0
    """Events of the file that have left the store by retention."""
    forgotten: int = 0
    """Events that were forgotten after the file was made, which has what they held."""

    @property
    def ok(self) -> bool:
        return not self.problems

    def complain(self, words: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(words)
        else:
            self.problems_left_out += 1


def read_manifest(file: Path, manifest: Path | None) -> Mapping[str, Any]:
    """Return the manifest of this export. Raises CommandFailed."""
    path = manifest or manifest_path(file)
    try:
        found = orjson.loads(path.read_bytes())
    except OSError as error:
        raise CommandFailed(ERROR, f"the manifest {path} cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError:
        raise CommandFailed(ERROR, f"the manifest {path} is not JSON") from None
    if not isinstance(found, dict) or found.get("version") != 1 or found.get("format") not in FORMATS:
        raise CommandFailed(ERROR, f"{path} is no manifest of an export that this version knows")
    return found


def check_export(file: Path, said: Mapping[str, Any], store: Store) -> ExportReport:
    """Compare a file with its manifest, and with the store."""
    report = ExportReport()
    _check_bytes(file, said, report)
    if store.identity.hex() != said["store"]:
        report.complain("the export is of another store")
    if report.ok:  # a file that is another than was written need not be of its format
        _check_rows(file, said, store, report)
        for name in ("count", "first_number", "last_number"):
            if getattr(report, name) != said[name]:
                report.complain(f"{name} is {getattr(report, name)}, the manifest says {said[name]}")
    return report


def _check_bytes(file: Path, said: Mapping[str, Any], report: ExportReport) -> None:
    found, size = hashlib.sha256(), 0
    with file.open("rb") as opened, Progress("MiB read", said["bytes"] // READ_BYTES) as progress:
        while piece := opened.read(READ_BYTES):
            found.update(piece)
            size += len(piece)
            progress.update(size // READ_BYTES)
    if size != said["bytes"]:
        report.complain(f"{file} has {size} bytes, the manifest says {said['bytes']}")
    elif found.hexdigest() != said["sha256"]:
        report.complain(f"{file} has another SHA-256 than the manifest says")


def _check_rows(file: Path, said: Mapping[str, Any], store: Store, report: ExportReport) -> None:
    with Snapshots(store).take() as snapshot:
        front = snapshot.front("receipts")
    asked = dict(said["asked"])
    changes = [asked.pop(name, None) for name in ("outcome", "where")]  # with outcomes, and with bodies
    query = described(oldest_first=True, **asked, after=said["after"], before=said["before"])
    stored = _stored(Reader(store), query)
    here = next(stored, None)
    with Progress("events compared", said["count"]) as progress:
        for key in FORMATS[said["format"]].keys(file):
            while here is not None and here.number < key.number:
                if not any(changes):
                    report.complain(f"the event {here.number} of the store is not in the file")
                here = next(stored, None)
            _check_event(key, here, front, report)
            if here is not None and here.number == key.number:
                here = next(stored, None)
            progress.update(report.count)
    while here is not None and not any(changes):
        report.complain(f"the event {here.number} of the store is not in the file")
        here = next(stored, None)


def _check_event(key: Key, here: Key | None, front: int, report: ExportReport) -> None:
    number = key.number
    if report.last_number is not None and number <= report.last_number:
        report.complain(f"the event {number} stands behind the event {report.last_number}")
    report.count += 1
    report.first_number = number if report.first_number is None else report.first_number
    report.last_number = number
    if here is None or here.number != number:
        if number < front:
            report.left += 1
        else:
            report.complain(f"the event {number} of the file is not in the store")
        return
    report.forgotten += here.is_forgotten and not key.is_forgotten
    if (here.source_id, here.event_id) != (key.source_id, key.event_id):
        found, stored = f"{key.event_id!r} of {key.source_id}", f"{here.event_id!r} of {here.source_id}"
        report.complain(f"the event {number} is {found}; in the store it is {stored}")
    elif key.outcome in LAST and here.outcome != key.outcome:
        report.complain(f"the event {number} is {key.outcome}; in the store it is {here.outcome}")


def _stored(reader: Reader, query: EventQuery) -> Iterator[Key]:
    following: EventQuery | None = query
    while following is not None:
        page = reader.select(following)
        for record in page.records:
            numbered = record.numbered
            source_id = numbered.deliveries.source_id
            event_id, is_forgotten = numbered.event_id(record.position), record.forgotten_at_ms > 0
            yield Key(record.number, source_id, event_id, outcome_of(record.status).label, is_forgotten)
        following = page.following
