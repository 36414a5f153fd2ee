"""Receipts, events, deliveries and the dead: one answer for the commands and the admin side, as JSON-able values."""

from collections.abc import Iterator, Sequence

from server.flow.source_state import kind_of
from server.intake.events import build_events, rfc3339
from storage.history import DIED, DISCARDED, TURN_ERROR_CHARACTERS_MAX, DeadEvent, Turn
from storage.model import EventRecord
from storage.read.reader import Reader
from storage.statuses import PENDING_STATUSES, EventStatus, outcome_of

Value = dict[str, object]


class BodyNotKept(Exception):
    """The event is known, but its body cannot be had: it was dropped on purpose, or discarded. The message says so."""


class BodyForgotten(Exception):
    """What is looked for was there and was forgotten. The message says so, and when."""

    def __init__(self, what: str, at_ms: int) -> None:
        super().__init__(f"{what} was forgotten at {rfc3339(at_ms)}; its receipt is still there")

    def report(self) -> Value:
        """Return it as the commands show it."""
        return {"code": "forgotten", "message": str(self)}


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

    A processor's result is its tenth field. Raises BodyNotKept, Expired, BodyForgotten.
    """
    records = reader.find(source_id, event_id, bodies=True)
    if not records:
        return None
    record = next((each for each in records if each.has_body), None)
    what = f"the body of event {event_id!r} of source {source_id!r}"
    forgotten_at_ms = max(each.forgotten_at_ms for each in records)
    if record is None and forgotten_at_ms:
        raise BodyForgotten(what, forgotten_at_ms)
    left_at_ms = max(each.left_at_ms for each in records)
    if record is None and left_at_ms:
        raise Expired(what, left_at_ms, _letting_go(records), "; its receipt is still there")
    if record is None and any(each.status is EventStatus.DISCARDED for each in records):
        raise BodyNotKept(f"event {event_id!r} of source {source_id} was discarded: its body cannot be looked up")
    if record is None:
        raise BodyNotKept(
            f"event {event_id!r} of source {source_id} was dropped by the rate limit with all of its delivery "
            f"{records[0].delivery_id}, so its body was not kept; it has a receipt"
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
        "delivery": records[0].delivery_id,
        "source_config_id": found.source_id,
        "source_type": found.source_type,
        "received_at": rfc3339(found.received_at_ms[0]),
        "remote_addr": found.remote_addrs[0],
        "headers": dict(found.headers[0]),
        "batch_size": found.batch_sizes[0],
        **_expired(records[0]),
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


def dead_some(reader: Reader, source_id: str | None, after: int, limit: int) -> tuple[list[Value], int | None]:
    """Return the first `limit` dead events after this number, and the number to go on with; None if these are all."""
    found: list[Value] = []
    while len(found) < limit:
        records = reader.dead(source_id, after, limit - len(found))
        if not records:
            return found, None
        found += map(_receipt, records)
        after = records[-1].number
    return found, after if reader.dead(source_id, after, 1) else None


KINDS_MAX = 1000
"""Counted apart, for each source: a kind is the name of an exception, unless a processor makes classes by the event."""
OTHER_KINDS = "other kinds"


class DeadKinds:
    """Counts dead events by source and kind of error."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, tuple[int, int, int]]] = {}
        """How many, when the first of them died, and when the last."""

    def add(self, events: Sequence[DeadEvent]) -> None:
        """Count these too."""
        for event in events:
            kinds, kind = self._counts.setdefault(event.source_id, {}), kind_of(event.error)
            if kind not in kinds and len(kinds) >= KINDS_MAX:
                kind = OTHER_KINDS
            count, first_ms, last_ms = kinds.get(kind, (0, event.at_ms, event.at_ms))
            kinds[kind] = count + 1, min(first_ms, event.at_ms), max(last_ms, event.at_ms)

    def report(self) -> list[Value]:
        """Return an entry for each source and kind, the most frequent of a source first."""
        return [
            {
                "source_config_id": source_id,
                "kind": kind,
                "events": count,
                "first_died_at": rfc3339(first_ms),
                "last_died_at": rfc3339(last_ms),
            }
            for source_id, kinds in sorted(self._counts.items())
            for kind, (count, first_ms, last_ms) in sorted(kinds.items(), key=lambda each: (-each[1][0], each[0]))
        ]


def dead_kinds(reader: Reader, source_id: str | None) -> list[Value]:
    """Return the dead events, counted by source and kind of error; of one source, or of all if it is None."""
    kinds = DeadKinds()
    following: int | None = 0
    while following is not None:
        events, following = reader.dead_page(source_id, following)
        kinds.add(events)
    return kinds.report()


def _receipt(record: EventRecord) -> Value:
    numbered, position = record.numbered, record.position
    delivery = numbered.deliveries
    is_pending = record.status in PENDING_STATUSES
    found: Value = {"pending": True} if is_pending else {}
    found |= {"inbound_event_id": numbered.event_id(position), "source_config_id": delivery.source_id}
    if not is_pending:
        found["outcome"] = outcome_of(record.status).label
    found |= {"event_type": delivery.types[position], "received_at": rfc3339(record.received_at_ms)}
    if not is_pending:
        found["finished_at"] = rfc3339(record.at_ms)
    found |= {
        "attempts": record.attempts,
        "delivery": record.delivery_id,
        "batch_index": delivery.indexes[position],
    }
    if delivery.replay_of:
        found["replay_of"] = delivery.replay_of[position]
    return found | _particulars(record) | _history(record) | archive(record)


def archive(record: EventRecord) -> Value:
    """Return what is said of a body that has left: when it was forgotten, or by when it had left by retention, and not
    before the outcome; nothing if it is there."""
    if record.forgotten_at_ms:
        return {"archive": "forgotten", "forgotten_at": rfc3339(record.forgotten_at_ms)}
    return _expired(record)


def _expired(record: EventRecord) -> Value:
    return (
        {"archive": "expired", "archive_expired_at": rfc3339(max(record.left_at_ms, record.at_ms))}
        if record.left_at_ms
        else {}
    )


def _particulars(record: EventRecord) -> Value:
    if record.status in PENDING_STATUSES:
        return {"number": record.number, "deferred": record.status is EventStatus.DEFERRED, **_reason(record)}
    if outcome_of(record.status) is EventStatus.DEAD:
        return {"error": record.detail.get("error")} | discarded(record)
    return {"duplicate_of": record.duplicate_of} if record.status is EventStatus.DUPLICATE else {}


def _reason(record: EventRecord) -> Value:
    """Return why it is pending, as far as the store knows: `server/flow/reasons.py` may know better."""
    if record.status is EventStatus.DEFERRED:
        return {"reason": "deferred"}
    error = record.detail.get("error")
    return {"reason": "retrying" if record.attempts else "queued"} | ({} if error is None else {"error": error})


def discarded(record: EventRecord) -> Value:
    """Return when a dead event was discarded, if it was."""
    if record.status is not EventStatus.DISCARDED:
        return {}
    return {"discarded_at": rfc3339(next(turn.at_ms for turn in reversed(record.history) if turn.change == DISCARDED))}


def _history(record: EventRecord) -> Value:
    """Return what became of an event about whose death something was done: when it died, of what, and what was done."""
    turns = [_turn(turn) for turn in record.history]
    if turns and record.status is EventStatus.DEAD:
        error = str(record.detail.get("error") or "")[:TURN_ERROR_CHARACTERS_MAX]
        turns.append(_turn(Turn(DIED, record.at_ms, record.attempts, error)))
    return {"history": turns} if turns else {}


def _turn(turn: Turn) -> Value:
    died = {"attempts": turn.attempts, "error": turn.error} if turn.change == DIED else {}
    return {"change": turn.change, "at": rfc3339(turn.at_ms)} | died


def _item(record: EventRecord) -> Value:
    """Return one item of a delivery: as its receipt, without what the delivery says for all."""
    shared = {"source_config_id", "received_at", "delivery", *_expired(record)}
    found = {key: value for key, value in _receipt(record).items() if key not in shared or value == "forgotten"}
    return {"batch_index": found.pop("batch_index")} | found
