"""Receipts, events, deliveries and the dead: one answer for the commands and the admin side, as JSON-able values."""

from collections.abc import Iterator, Sequence

from server.intake.events import build_events, rfc3339
from storage.model import EventRecord
from storage.read.reader import Reader
from storage.statuses import PENDING_STATUSES, EventStatus

Value = dict[str, object]


class BodyNotKept(Exception):
    """The event is known, but there is nothing to build it from: it was dropped on purpose. The message says so."""


class Expired(Exception):
    """What is looked for was there and has left by retention. The message says so, and by when."""

    def __init__(self, what: str, left_at_ms: int, settings: str, still: str = "") -> None:
        super().__init__(f"{what} had left the store by {rfc3339(left_at_ms)} ({settings}){still}")

    def report(self) -> Value:
        """Return it as the commands show it."""
        return {"code": "expired", "message": str(self)}


def receipt(reader: Reader, source_id: str, event_id: str) -> Value | None:
    """Return the receipt of the processed event of this id, else of the newest; None if the id is unknown.

    An event without an outcome has none: then it is the pending object, whose `pending` is true.
    """
    records = reader.find(source_id, event_id, limit=1)
    return _receipt(records[0]) if records else None


def receipts(reader: Reader, source_id: str, event_id: str) -> Iterator[Value]:
    """Yield every receipt of this id, the newest first; a pending object if there is no outcome yet."""
    return map(_receipt, reader.find_each(source_id, event_id))


def event(reader: Reader, source_id: str, event_id: str) -> Value | None:
    """Return the normalised event of this id: the processed one, else the newest whose body was kept; None: unknown.

    A processor's result is its tenth field. Raises BodyNotKept, Expired.
    """
    records = reader.find(source_id, event_id, bodies=True)
    if not records:
        return None
    record = next((each for each in records if each.numbered.deliveries.size), None)
    left_at_ms = max(each.left_at_ms for each in records)
    if record is None and left_at_ms:
        what = f"the body of event {event_id!r} of source {source_id!r}"
        raise Expired(what, left_at_ms, _letting_go(records), "; its receipt is still there")
    if record is None:
        raise BodyNotKept(
            f"event {event_id!r} of source {source_id} was dropped by the rate limit with all of its delivery "
            f"{records[0].numbered.delivery_ids()[0]}, so its body was not kept; it has a receipt"
        )
    results = {record.position: record.detail["result"]} if "result" in record.detail else {}
    return build_events(record.numbered, [record.position], results)[0]


def _letting_go(records: Sequence[EventRecord]) -> str:
    """Return the settings that let the bodies of these events go."""
    died = all(record.status is EventStatus.DEAD for record in records)
    return "retention.dead_hours and archive_hours" if died else "retention.archive_hours or archive_bytes_max"


def delivery(reader: Reader, delivery_id: str) -> Value | None:
    """Return a delivery: when, from where, and what became of each of its items, in the order sent; None: unknown.

    Raises Expired.
    """
    records = reader.delivery(delivery_id)
    if not records and (left_at_ms := reader.left_at(delivery_id)):
        raise Expired(f"delivery {delivery_id!r}, if there was one,", left_at_ms, "retention.receipt_hours")
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
        **archive(records[0]),
        "items": [item for _, item in sorted(items, key=lambda pair: pair[0])],
    }


def dead(reader: Reader, source_id: str | None) -> Iterator[Value]:
    """Yield the receipts of all dead events, in the order they came; of one source, or of all if it is None."""
    after: int | None = 0
    while after is not None:
        page, after = dead_page(reader, source_id, after)
        yield from page


def dead_page(reader: Reader, source_id: str | None, after: int) -> tuple[list[Value], int | None]:
    """Return a page of the dead events after this number, and the number to go on with; None at the end."""
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
    return found | _particulars(record) | archive(record)


def archive(record: EventRecord) -> Value:
    """Return what is said of a body that has left: by when, and not before the outcome; nothing if it is there."""
    return (
        {"archive": "expired", "archive_expired_at": rfc3339(max(record.left_at_ms, record.at_ms))}
        if record.left_at_ms
        else {}
    )


def _particulars(record: EventRecord) -> Value:
    if record.status in PENDING_STATUSES:
        return {"number": record.number, "deferred": record.status is EventStatus.DEFERRED}
    if record.status is EventStatus.DEAD:
        return {"error": record.detail.get("error")}
    return {"duplicate_of": record.duplicate_of} if record.status is EventStatus.DUPLICATE else {}


def _item(record: EventRecord) -> Value:
    """Return one item of a delivery: as its receipt, without what the delivery says for all."""
    shared = ("source_config_id", "received_at", "delivery", "archive", "archive_expired_at")
    found = {key: value for key, value in _receipt(record).items() if key not in shared}
    return {"batch_index": found.pop("batch_index")} | found
