"""Receipts, events, deliveries and the dead: one answer for the commands and the admin side, as JSON-able values."""

from collections.abc import Iterator

from server.intake.events import build_events, rfc3339
from storage.model import EventRecord
from storage.read.reader import Reader
from storage.statuses import PENDING_STATUSES, EventStatus

Value = dict[str, object]


class BodyNotKept(Exception):
    """The event is known, but there is nothing to build it from: it was dropped on purpose. The message says so."""


def receipt(reader: Reader, source_id: str, event_id: str) -> Value | None:
    """The receipt of the processed event of this id, else of the newest; None where the id is unknown.

    An event without an outcome has none: then it is the pending object, whose `pending` is true.
    """
    records = reader.find(source_id, event_id, limit=1)
    return _receipt(records[0]) if records else None


def receipts(reader: Reader, source_id: str, event_id: str) -> Iterator[Value]:
    """Every receipt of this id, the newest first; pending objects where there is no outcome yet."""
    return map(_receipt, reader.find_each(source_id, event_id))


def event(reader: Reader, source_id: str, event_id: str) -> Value | None:
    """The normalised event of this id: the processed one, else the newest whose body was kept; None: unknown.

    A processor's result is its tenth field. Raises BodyNotKept.
    """
    records = reader.find(source_id, event_id, bodies=True)
    if not records:
        return None
    record = next((each for each in records if each.numbered.deliveries.size), None)
    if record is None:
        raise BodyNotKept(
            f"event {event_id!r} of source {source_id} was dropped by the rate limit with all of its delivery "
            f"{records[0].numbered.delivery_ids()[0]}, so its body was not kept; it has a receipt"
        )
    results = {record.position: record.detail["result"]} if "result" in record.detail else {}
    return build_events(record.numbered, [record.position], results)[0]


def delivery(reader: Reader, delivery_id: str) -> Value | None:
    """A delivery: when, from where, and what became of each of its items, in the order they were sent; or None."""
    records = reader.delivery(delivery_id)
    if not records:
        return None
    numbered = records[0].numbered
    found = numbered.deliveries
    items = [(found.indexes[record.position], _item(record)) for record in records]
    items += [
        (index, {"batch_index": index, "rejected": True, "code": code, "message": message})
        for index, code, message in found.rejected[0]
    ]
    return {
        "delivery": numbered.delivery_ids()[0],
        "source_config_id": found.source_id,
        "source_type": found.source_type,
        "received_at": rfc3339(found.received_at_ms[0]),
        "remote_addr": found.remote_addrs[0],
        "headers": dict(found.headers[0]),
        "batch_size": found.batch_sizes[0],
        "items": [item for _, item in sorted(items, key=lambda pair: pair[0])],
    }


def dead(reader: Reader, source_id: str | None) -> Iterator[Value]:
    """The receipts of all dead events, in the order they came; of one source, or of all where it is None."""
    after: int | None = 0
    while after is not None:
        page, after = dead_page(reader, source_id, after)
        yield from page


def dead_page(reader: Reader, source_id: str | None, after: int) -> tuple[list[Value], int | None]:
    """The dead events behind the number `after`: a page, and the number to go on with; None at the end."""
    records = reader.dead(source_id, after)
    return [_receipt(record) for record in records], records[-1].number if records else None


def _receipt(record: EventRecord) -> Value:
    numbered, position = record.numbered, record.position
    delivery = numbered.deliveries
    is_pending = record.status in PENDING_STATUSES
    found: Value = {"pending": True} if is_pending else {}
    found |= {"inbound_event_id": numbered.event_id(position), "source_config_id": delivery.source_id}
    if not is_pending:
        found["outcome"] = record.status.label
    found |= {"event_type": delivery.types[position], "received_at": rfc3339(delivery.received_at_ms[0])}
    if not is_pending:
        found["finished_at"] = rfc3339(record.at_ms)
    found |= {
        "attempts": record.attempts,
        "delivery": numbered.delivery_ids()[0],
        "batch_index": delivery.indexes[position],
    }
    return found | _particulars(record)


def _particulars(record: EventRecord) -> Value:
    if record.status in PENDING_STATUSES:
        return {"number": record.number, "deferred": record.status is EventStatus.DEFERRED}
    if record.status is EventStatus.DEAD:
        return {"error": record.detail.get("error")}
    return {"duplicate_of": record.duplicate_of} if record.status is EventStatus.DUPLICATE else {}


def _item(record: EventRecord) -> Value:
    """One item of a delivery: as its receipt, without what the delivery says for all."""
    shared = ("source_config_id", "received_at", "delivery")
    found = {key: value for key, value in _receipt(record).items() if key not in shared}
    return {"batch_index": found.pop("batch_index")} | found
