"""`verify --export`: is a file what its manifest says, and is what it says in the store?

The store has gone on meanwhile: outcomes came, and events have left by retention. So an event that is not there any
more is one before the front of receipts, and of the others is compared what cannot change. An event may have been
forgotten too: then the file is as it was written, and nobody may want to keep it.

One event of the file and one of the store are in memory at a time: a batch may give a large context to each of its own.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import NoneType
from typing import Any

from server.base.json_text import json_text
from server.cli.events import described
from server.cli.export_compare import differing
from server.cli.export_formats import FORMATS, UNREADABLE
from server.cli.export_manifest import NUMBER_MAX
from server.cli.progress import Progress
from server.intake.events import each_event
from server.observe.exports import COLUMNS, NUMBERS, Cells, export_rows
from server.observe.receipts import Value
from storage.lmdb_store.environment import Store
from storage.read.query import EventQuery
from storage.read.reader import Reader
from storage.read.scan import PAGE_EVENTS_MAX
from storage.read.snapshot import Snapshots
from storage.statuses import EventStatus, outcome_of

PROBLEMS_MAX = 100
"""So many are told; the others are counted."""

READ_BYTES = 2**20

OUTCOMES = frozenset(outcome_of(status).label for status in EventStatus)


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
    totals: dict[str, dict[str, int]] = field(default_factory=dict)
    """By source: how many events of the file have each outcome."""

    @property
    def ok(self) -> bool:
        return not self.problems

    def complain(self, words: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(words)
        else:
            self.problems_left_out += 1


def check_export(file: Path, said: Mapping[str, Any], store: Store) -> ExportReport:
    """Compare a file with its manifest, and with the store."""
    report = ExportReport()
    _check_bytes(file, said, report)
    if store.identity.hex() != said["store"]:
        report.complain("the export is of another store")
    if report.ok:  # a file that is another than was written need not be of its format
        try:
            _check_rows(_rows(file, said["format"]), said, store, report)
        except _NotOfItsFormat as error:
            report.complain(str(error))
        else:
            _check_sums(said, report)
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


class _NotOfItsFormat(Exception):
    """The message says from which row on."""


def _rows(file: Path, shape: str) -> Iterator[Cells]:
    """Yield the rows of a file. Raises _NotOfItsFormat."""
    count = 0
    try:
        for cells in FORMATS[shape].read(file):
            _check_types(cells)
            count += 1
            yield cells
    except UNREADABLE as error:
        words = f"{file} is not what an export writes as {shape}, from row {count + 1} on: {error}"
        raise _NotOfItsFormat(words) from None


def _check_types(cells: Cells) -> None:
    for column, cell, types in zip(COLUMNS, cells, _TYPES, strict=True):
        if type(cell) not in types:
            raise ValueError(f"{column} is missing, or of another type")
    if not 0 < cells.number <= NUMBER_MAX:
        raise ValueError(f"{cells.number} is not the number of an event")
    if cells.outcome not in OUTCOMES:
        raise ValueError(f"{cells.outcome!r} is not an outcome")


_NEVER_MISSING = ("outcome", "inbound_event_id", "source_config_id")
_TYPES = [(int,) if each in NUMBERS else (str,) if each in _NEVER_MISSING else (str, NoneType) for each in COLUMNS]


def _check_sums(said: Mapping[str, Any], report: ExportReport) -> None:
    """Compare what was counted in the file with its manifest."""
    for name in ("count", "first_number", "last_number"):
        if getattr(report, name) != said[name]:
            report.complain(f"{name} is {getattr(report, name)}, the manifest says {said[name]}")
    for source_id in sorted(report.totals.keys() | said["totals"].keys()):
        found, stated = (totals.get(source_id, {}) for totals in (report.totals, said["totals"]))
        if found != stated:
            words = f"has {json_text(found).decode()}, the manifest says {json_text(stated).decode()}"
            report.complain(f"of the source {source_id} the file {words}")


def _check_rows(rows: Iterator[Cells], said: Mapping[str, Any], store: Store, report: ExportReport) -> None:
    asked = dict(said["asked"])
    changes = [asked.pop(name, None) for name in ("outcome", "where")]  # with outcomes, and with bodies
    query = described(oldest_first=True, **asked, after=said["after"], before=said["before"])
    stored = _Stored(store, query, may_have_others=any(changes))
    with Progress("events compared", said["count"]) as progress:
        for cells in rows:
            here = None
            for number, row in stored.up_to(cells.number):
                if number == cells.number:
                    here = FORMATS[said["format"]].cells(row)
                elif not stored.may_have_others:
                    report.complain(f"the event {number} of the store is not in the file")
            _count(cells, report)
            _check_event(cells, here, stored, report)
            progress.update(report.count)
    if not stored.may_have_others:
        for number, _ in stored.up_to(NUMBER_MAX):
            report.complain(f"the event {number} of the store is not in the file")


class _Stored:
    """The events of the store that a query describes."""

    def __init__(self, store: Store, query: EventQuery, *, may_have_others: bool) -> None:
        self._reader = Reader(store)
        self._snapshots = Snapshots(store)
        self._query = query
        self._front = 0
        self._rows = self._each(query)
        self._next = next(self._rows, None)
        self.may_have_others = may_have_others
        """Whether there may be some that were not asked for, as far as can be known now."""

    def up_to(self, number: int) -> Iterator[tuple[int, Value]]:
        """Yield those up to this number that were not yielded before; some others may be passed over."""
        if self.may_have_others and self._next is not None and number - self._next[0] > PAGE_EVENTS_MAX:
            self._rows = self._each(replace(self._query, after=number - 1))
            self._next = next(self._rows, None)
        while self._next is not None and self._next[0] <= number:
            yield self._next
            self._next = next(self._rows, None)

    def has_left(self, number: int) -> bool:
        """Return whether an event that is not there has left by retention, which may go on meanwhile."""
        if number >= self._front:
            with self._snapshots.take() as snapshot:
                self._front = snapshot.front("receipts")
        return number < self._front

    def _each(self, query: EventQuery) -> Iterator[tuple[int, Value]]:
        following: EventQuery | None = query
        while following is not None:
            page = self._reader.select(following, build=each_event, bodies=True)
            for record, row in zip(page.records, export_rows(page.records), strict=True):
                yield record.number, row
            following = page.following


def _count(cells: Cells, report: ExportReport) -> None:
    """Count an event of the file, whose numbers ascend."""
    if report.last_number is not None and cells.number <= report.last_number:
        report.complain(f"the event {cells.number} stands behind the event {report.last_number}")
    report.count += 1
    report.first_number = cells.number if report.first_number is None else report.first_number
    report.last_number = cells.number
    outcomes = report.totals.setdefault(cells.source_config_id, {})
    outcomes[cells.outcome] = outcomes.get(cells.outcome, 0) + 1


def _check_event(said: Cells, here: Cells | None, stored: _Stored, report: ExportReport) -> None:
    number = said.number
    if here is None:
        if stored.has_left(number):
            report.left += 1
        else:
            report.complain(f"the event {number} of the file is not in the store")
        return
    report.forgotten += here.forgotten_at is not None and said.forgotten_at is None
    columns = differing(said, here)
    if not {"inbound_event_id", "source_config_id"}.isdisjoint(columns):
        found, known = (f"{each.inbound_event_id!r} of {each.source_config_id}" for each in (said, here))
        report.complain(f"the event {number} is {found}; in the store it is {known}")
    elif "outcome" in columns:
        report.complain(f"the event {number} is {said.outcome}; in the store it is {here.outcome}")
    elif columns:
        report.complain(f"the event {number} has another {', '.join(columns)} in the file than in the store")
