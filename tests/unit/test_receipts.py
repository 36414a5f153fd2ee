"""Receipts, events and deliveries as values, from records that a fake reader gives."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from server.observe import receipts as lookup
from server.observe.events import event_value
from server.observe.schemas import SCHEMAS
from storage.deliveries import PAYLOAD_KEY, NumberedDeliveries
from storage.history import DIED, DISCARDED, REQUEUED, DeadEvent, Turn
from storage.model import EventRecord
from storage.read.reader import Reader
from storage.statuses import EventStatus
from tests.support.store import AT_MS, changed, delivery

RECEIVED = "2023-11-14T22:13:20.000Z"
FINISHED = "2023-11-14T22:13:21.234Z"


class FakeReader:
    """Gives the records it was made with, in the order of a real one."""

    def __init__(self, records: Sequence[EventRecord]) -> None:
        self.records = records

    def find(self, source_id: str, event_id: str, limit: int = 100, *, bodies: bool = False) -> list[EventRecord]:
        return list(self._all(source_id, event_id))[:limit]

    def find_each(self, source_id: str, event_id: str) -> Iterator[EventRecord]:
        return iter(sorted(self._all(source_id, event_id), key=lambda record: -record.number))

    def _all(self, source_id: str, event_id: str) -> list[EventRecord]:
        return [
            r for r in self.records if (r.numbered.source_id, r.numbered.event_id(r.position)) == (source_id, event_id)
        ]

    def delivery(self, delivery_id: str) -> list[EventRecord] | None:
        return [record for record in self.records if own(record.numbered) == delivery_id] or None

    def left_at(self, delivery_id: str) -> int:
        return 0

    def dead(self, source_id: str | None, after: int = 0, limit: int = 2) -> list[EventRecord]:
        wanted = (None, *{r.numbered.source_id for r in self.records}) if source_id is None else (source_id,)
        dead = [r for r in self.records if r.status is EventStatus.DEAD and r.numbered.source_id in wanted]
        return [record for record in dead if record.number > after][:limit]


def reader(*records: EventRecord) -> Reader:
    return cast(Reader, FakeReader(records))


def own(numbered: NumberedDeliveries) -> str:
    """The id of the one delivery."""
    [delivery_id] = numbered.delivery_ids()
    return delivery_id


def record(
    numbered: NumberedDeliveries, position: int = 0, status: EventStatus = EventStatus.PROCESSED, **keys: Any
) -> EventRecord:
    at_ms = 0 if status <= EventStatus.DEFERRED else AT_MS + 1234
    values: dict[str, Any] = {"attempts": 0, "at_ms": at_ms, "duplicate_of": None, "detail": {}}
    place = numbered.place_of(numbered.first + position)
    return EventRecord(numbered=numbered, place=place, position=position, status=status, **(values | keys))


@pytest.mark.parametrize(
    ("status", "keys", "more"),
    [
        (EventStatus.PROCESSED, {"detail": {"result": {"a": 1}}}, {}),
        (EventStatus.DUPLICATE, {"duplicate_of": "0000000000001-abcdef"}, {"duplicate_of": "0000000000001-abcdef"}),
        (EventStatus.DROPPED, {}, {}),
        (EventStatus.DEAD, {"attempts": 12, "detail": {"error": "ValueError: no"}}, {"error": "ValueError: no"}),
    ],
)
def test_receipt_of_each_outcome(status: EventStatus, keys: dict[str, Any], more: dict[str, Any]) -> None:
    """A receipt has the nine keys in their order, and what its outcome adds, and nothing else."""
    stored = delivery(7, ["a", "b"])
    receipt = lookup.receipt(reader(record(stored, 1, status, **keys)), "demo", "b")
    assert receipt == {
        "inbound_event_id": "b",
        "source_config_id": "demo",
        "outcome": status.name.lower(),
        "event_type": "order.paid",
        "received_at": RECEIVED,
        "finished_at": FINISHED,
        "attempts": keys.get("attempts", 0),
        "delivery": own(stored),
        "batch_index": 1,
        **more,
    }
    assert list(receipt)[:9] == [
        "inbound_event_id",
        "source_config_id",
        "outcome",
        "event_type",
        "received_at",
        "finished_at",
        "attempts",
        "delivery",
        "batch_index",
    ]


@pytest.mark.parametrize("status", [EventStatus.PENDING, EventStatus.DEFERRED])
def test_a_pending_event_has_no_receipt(status: EventStatus) -> None:
    """An event without an outcome has no receipt but says what is known of it, and why it waits."""
    stored = delivery(7, ["a"])
    assert lookup.receipt(reader(record(stored, 0, status, attempts=3)), "demo", "a") == {
        "pending": True,
        "inbound_event_id": "a",
        "source_config_id": "demo",
        "event_type": "order.paid",
        "received_at": RECEIVED,
        "attempts": 3,
        "delivery": own(stored),
        "batch_index": 0,
        "number": 7,
        "deferred": status is EventStatus.DEFERRED,
        "reason": "deferred" if status is EventStatus.DEFERRED else "retrying",
    }


def test_a_pending_event_says_what_failed() -> None:
    """A queued event waits for its turn; one that failed says of what, as far as the store knows."""
    stored = delivery(7, ["a"])
    queued = lookup.receipt(reader(record(stored, 0, EventStatus.PENDING)), "demo", "a")
    assert queued is not None
    assert (queued["reason"], "error" in queued) == ("queued", False)
    failed = record(stored, 0, EventStatus.PENDING, attempts=1, detail={"error": "ValueError: no"})
    found = lookup.receipt(reader(failed), "demo", "a")
    assert found is not None
    assert (found["reason"], found["error"]) == ("retrying", "ValueError: no")


def test_a_receipt_keeps_its_history() -> None:
    """Of an event that died and was given back, the receipt says when it died, of what, and what became of it since."""
    stored = delivery(7, ["a"])
    turns = [Turn(DIED, AT_MS, 3, "ValueError: no"), Turn(REQUEUED, AT_MS + 1234)]
    before = [
        {"change": "died", "at": RECEIVED, "attempts": 3, "error": "ValueError: no"},
        {"change": "requeued", "at": FINISHED},
    ]
    for status, keys, more in (
        (EventStatus.PROCESSED, {}, []),
        (EventStatus.PENDING, {}, []),
        (
            EventStatus.DEAD,
            {"attempts": 2, "detail": {"error": "KeyError: x"}},
            [{"change": "died", "at": FINISHED, "attempts": 2, "error": "KeyError: x"}],
        ),
    ):
        receipt = lookup.receipt(reader(record(stored, 0, status, history=turns, **keys)), "demo", "a")
        assert receipt is not None
        assert receipt["history"] == [*before, *more]


def test_a_discarded_event_stays_dead() -> None:
    """It has the outcome, the time and the error of its death, and when it was discarded."""
    stored = delivery(7, ["a"])
    turns = [Turn(DIED, AT_MS, 3, "ValueError: no"), Turn(DISCARDED, AT_MS)]
    keys = {"attempts": 3, "detail": {"error": "ValueError: no"}, "history": turns}
    receipt = lookup.receipt(reader(record(stored, 0, EventStatus.DISCARDED, **keys)), "demo", "a")
    assert receipt is not None
    assert (receipt["outcome"], receipt["error"], receipt["finished_at"]) == ("dead", "ValueError: no", FINISHED)
    assert receipt["discarded_at"] == RECEIVED
    assert [turn["change"] for turn in receipt["history"]] == ["died", "discarded"]  # type: ignore[attr-defined]  # JSON


def test_dead_events_are_counted_by_kind() -> None:
    """By source, and by what precedes the words of the error, which may hold a payload; the most frequent first."""
    kinds = lookup.DeadKinds()
    errors = ["KeyError: 'a'", "ValueError: 1", "KeyError: 'b'", "outran its timeout of 30 s"]
    kinds.add([DeadEvent(at, "demo", 1, AT_MS + 1234 * at, error, ()) for at, error in enumerate(errors)])
    kinds.add([DeadEvent(9, "another", 1, AT_MS, "KeyError", ())])
    report = kinds.report()
    assert [(each["source_config_id"], each["kind"], each["events"]) for each in report] == [
        ("another", "KeyError", 1),
        ("demo", "KeyError", 2),
        ("demo", "ValueError", 1),
        ("demo", "outran its timeout of 30 s", 1),
    ]
    assert (report[2]["first_died_at"], report[2]["last_died_at"]) == (FINISHED, FINISHED)


def test_kinds_that_are_too_many_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that makes a class for each event does not make the list as long as its events are many."""
    monkeypatch.setattr(lookup, "KINDS_MAX", 3)
    kinds = lookup.DeadKinds()
    kinds.add([DeadEvent(at, "demo", 1, AT_MS, f"Error{at}: no", ()) for at in range(10)])
    found = {each["kind"]: each["events"] for each in kinds.report()}
    assert found == {"Error0": 1, "Error1": 1, "Error2": 1, lookup.OTHER_KINDS: 7}


def test_unknown_ids_give_nothing() -> None:
    """Unknown ids give None, and an empty list of receipts."""
    empty = reader()
    assert lookup.receipt(empty, "demo", "a") is None
    assert list(lookup.receipts(empty, "demo", "a")) == []
    assert lookup.event(empty, "demo", "a") is None
    assert lookup.delivery(empty, "0000000000001-abcdef") is None
    assert list(lookup.dead(empty, None)) == []


class ShortReader(FakeReader):
    """Gives one dead event at a time, as where deliveries are large."""

    def dead(self, source_id: str | None, after: int = 0, limit: int = 1) -> list[EventRecord]:
        return super().dead(source_id, after, limit)[:1]


def test_a_page_of_the_dead_is_full() -> None:
    """A page has as many as were asked for while there are so many, and the number to go on with if there are more."""
    records = [record(delivery(number, ["a"]), status=EventStatus.DEAD) for number in (1, 2, 3)]
    short = cast(Reader, ShortReader(records))
    pages = [lookup.dead_some(short, None, after, limit) for after, limit in ((0, 2), (2, 2), (0, 3), (0, 4), (3, 1))]
    assert [(len(values), following) for values, following in pages] == [
        (2, 2),
        (1, None),
        (3, None),
        (3, None),
        (0, None),
    ]


def test_replayed_and_discarded_events_are_in_schemas() -> None:
    """What lists, receipts and deliveries say of an event that was replayed, and discarded, their schemas have."""
    stored = changed(delivery(1, ["a"]), replay_of=[7])
    turns = (Turn(DISCARDED, AT_MS),)
    event = record(stored, status=EventStatus.DISCARDED, history=turns)
    listed = SCHEMAS["EventPage"]["properties"]["events"]["items"]["properties"]
    assert event_value(event).keys() - listed.keys() == set()
    shapes = [each["properties"].keys() for each in SCHEMAS["Receipt"]["anyOf"]]
    receipt = lookup.receipt(reader(event), "demo", "a") or {}
    assert {"replay_of", "discarded_at"} <= receipt.keys()
    assert any(receipt.keys() <= shape for shape in shapes)
    item = cast(Any, lookup.delivery(reader(event), own(stored)))["items"][0]
    items = [each["properties"].keys() for each in SCHEMAS["Delivery"]["properties"]["items"]["items"]["anyOf"]]
    assert any(item.keys() <= shape for shape in items)


def test_all_receipts_come_newest_first() -> None:
    """One receipt is the reader's first choice, the processed one; all of them go from the newest to the oldest."""
    processed = record(delivery(1, ["a"]))
    duplicate = record(delivery(5, ["a"]), status=EventStatus.DUPLICATE)
    found = reader(processed, duplicate)
    assert (lookup.receipt(found, "demo", "a") or {})["outcome"] == "processed"
    assert [receipt["outcome"] for receipt in lookup.receipts(found, "demo", "a")] == ["duplicate", "processed"]


def test_event_has_its_result() -> None:
    """The event is the normalised one with its nine fields; a result, null too, is a tenth."""
    stored = changed(delivery(1, ["a"], body=b'{"payload":{"x":[1]}}'), payload_from=[PAYLOAD_KEY])
    plain = lookup.event(reader(record(stored)), "demo", "a")
    assert plain is not None
    assert len(plain) == 9
    assert (plain["payload"], plain["received_at"]) == ({"x": [1]}, RECEIVED)
    found = lookup.event(reader(record(stored, detail={"result": None})), "demo", "a")
    assert found == plain | {"result": None}
    assert lookup.event(reader(record(stored, status=EventStatus.DEAD, detail={"error": "no"})), "demo", "a") == plain


def test_dropped_event_without_a_body() -> None:
    """Where no body was kept the words say why; an older event of the id whose body was kept is shown instead."""
    dropped = record(delivery(9, ["a"], body=b""), status=EventStatus.DROPPED)
    with pytest.raises(lookup.BodyNotKept, match=r"was dropped by the rate limit .* so its body was not kept"):
        lookup.event(reader(dropped), "demo", "a")
    older = record(delivery(1, ["a"]), status=EventStatus.DEAD)
    event = lookup.event(reader(dropped, older), "demo", "a")
    assert event is not None
    assert event["meta"]["number"] == 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("status", "settings"),
    [
        (EventStatus.PROCESSED, "retention.archive_hours or archive_bytes_max"),
        (EventStatus.DEAD, "retention.dead_hours and archive_hours"),
    ],
)
def test_what_let_a_body_go_is_named(status: EventStatus, settings: str) -> None:
    """Of a body that has left it is said by when, by which settings, and that there still is a receipt."""
    gone = record(changed(delivery(1, ["a"]), bodies=[b""]), status=status, left_at_ms=AT_MS)
    with pytest.raises(lookup.Expired) as caught:
        lookup.event(reader(gone), "demo", "a")
    said = f"the body of event 'a' of source 'demo' had left the store by {RECEIVED} ({settings})"
    assert str(caught.value) == f"{said}; its receipt is still there"


def test_delivery_tells_of_each_item() -> None:
    """Every item that was sent is there in order: with its outcome, pending, or rejected with its reason."""
    stored = delivery(3, ["a", "b", None])
    stored = changed(
        stored,
        batch_sizes=[5],
        indexes=[0, 2, 4],
        rejected=[[(1, "invalid_event", "no"), (3, "invalid_event", "nor")]],
    )
    records = [
        record(stored, 0),
        record(stored, 1, EventStatus.DEFERRED),
        record(stored, 2, EventStatus.DEAD, detail={"error": "e"}),
    ]
    found = lookup.delivery(reader(*records), own(stored))
    assert found is not None
    items = found.pop("items")
    assert found == {
        "delivery": own(stored),
        "source_config_id": "demo",
        "source_type": "webhook",
        "received_at": RECEIVED,
        "remote_addr": "127.0.0.1",
        "headers": {"content-type": "application/json"},
        "batch_size": 5,
    }
    common = {"event_type": "order.paid", "attempts": 0}
    assert items == [
        {"batch_index": 0, "inbound_event_id": "a", "outcome": "processed", "finished_at": FINISHED, **common},
        {"batch_index": 1, "rejected": True, "code": "invalid_event", "message": "no"},
        {
            "batch_index": 2,
            "pending": True,
            "inbound_event_id": "b",
            "number": 4,
            "deferred": True,
            "reason": "deferred",
            **common,
        },
        {"batch_index": 3, "rejected": True, "code": "invalid_event", "message": "nor"},
        {
            "batch_index": 4,
            "inbound_event_id": f"{own(stored)}-4",
            "outcome": "dead",
            "finished_at": FINISHED,
            "error": "e",
            **common,
        },
    ]


def test_dead_events_come_in_pages() -> None:
    """All dead events are listed once and in order, however many pages that takes; of one source where one is named."""
    dead = [
        record(delivery(number, [f"id-{number}"], source_id=s), status=EventStatus.DEAD)
        for number, s in enumerate("aabab", 1)
    ]
    found = reader(*dead, record(delivery(9, ["x"], source_id="a")))
    assert [each["inbound_event_id"] for each in lookup.dead(found, None)] == [f"id-{n}" for n in range(1, 6)]
    assert [each["inbound_event_id"] for each in lookup.dead(found, "a")] == ["id-1", "id-2", "id-4"]
    assert lookup.dead_page(found, None, 0)[1] == 2
    assert lookup.dead_page(found, None, 5) == ([], None)
