"""An event of an export beside the same one in the store: which differences came since, and which are mistakes."""

from typing import Any

import pytest

from server.cli.export_compare import differing
from server.observe.exports import Cells

META, NO_SENDER = '{"number":1,"remote_addr":"127.0.0.1"}', '{"number":1,"remote_addr":""}'

EVENT = Cells(1, "processed", "t1", 0, "a", "demo", "webhook", "a", "x", "t0", "{}", '{"h":"v"}', META, '{"ok":1}')

PENDING: dict[str, Any] = {"outcome": "pending", "finished_at": None, "result": None}
DUPLICATE: dict[str, Any] = {"outcome": "duplicate", "duplicate_of": "1", "result": None}
DEAD: dict[str, Any] = {"outcome": "dead", "error": "no", "result": None}
DISCARDED = DEAD | {"discarded_at": "t2", "payload": None}
EXPIRED: dict[str, Any] = {"payload": None, "result": None, "archive": "expired", "archive_expired_at": "t3"}
FORGOTTEN: dict[str, Any] = {
    "payload": None,
    "result": None,
    "headers": "{}",
    "meta": NO_SENDER,
    "archive": "forgotten",
}
FORGOTTEN |= {"forgotten_at": "t4"}
BESIDE_FORGOTTEN = {"headers": "{}", "meta": NO_SENDER}


@pytest.mark.parametrize(
    ("said", "here"),
    [
        ({}, {}),
        (PENDING, {}),
        (PENDING, PENDING | {"attempts": 2}),
        (DEAD, PENDING),
        (DEAD, DEAD | {"finished_at": "t5", "error": "yes"}),
        (DEAD, DISCARDED),
        (DISCARDED, DISCARDED | FORGOTTEN | {"error": "forgotten"}),
        (DUPLICATE, DUPLICATE | {"duplicate_of": None}),
        ({}, EXPIRED),
        ({"payload": None, **EXPIRED}, EXPIRED | {"archive_expired_at": "t5"}),
        (EXPIRED, FORGOTTEN),
        (EXPIRED | {"result": '{"ok":1}'}, EXPIRED),
        ({}, FORGOTTEN),
        ({}, BESIDE_FORGOTTEN),
        (FORGOTTEN, FORGOTTEN),
    ],
)
def test_what_came_since_is_no_mistake(said: dict[str, Any], here: dict[str, Any]) -> None:
    """Outcomes come, bodies leave, and a forget takes headers and address of all events of a delivery."""
    assert differing(EVENT._replace(**said), EVENT._replace(**here)) == []


@pytest.mark.parametrize(
    ("said", "here", "columns"),
    [
        ({}, PENDING, ["outcome", "finished_at", "result"]),
        ({"attempts": 1}, {}, ["attempts"]),
        ({}, {"result": None}, ["result"]),
        ({"result": None}, {}, ["result"]),
        ({"result": "2"}, EXPIRED | {"result": "1"}, ["result"]),
        (DUPLICATE | {"duplicate_of": None}, DUPLICATE, ["duplicate_of"]),
        (DISCARDED, DEAD | {"payload": None}, ["discarded_at"]),
        (DISCARDED, DISCARDED | {"error": "other"}, ["error"]),
        (DISCARDED | {"payload": "{}"}, DISCARDED, ["payload"]),
        ({"payload": None}, {}, ["payload"]),
        ({}, {"payload": None}, ["payload"]),
        (EXPIRED | {"payload": "1"}, EXPIRED, ["payload"]),
        (EXPIRED, {}, ["payload", "result", "archive", "archive_expired_at"]),
        (FORGOTTEN, EXPIRED | BESIDE_FORGOTTEN, ["archive", "archive_expired_at", "forgotten_at"]),
        (FORGOTTEN, FORGOTTEN | {"forgotten_at": "t6"}, ["forgotten_at"]),
        ({"headers": '{"h":"w"}'}, {"headers": "{}"}, ["headers"]),
        ({"headers": "{}"}, {}, ["headers"]),
        ({"meta": NO_SENDER}, {}, ["meta"]),
        ({"meta": META.replace("1,", "2,")}, BESIDE_FORGOTTEN, ["meta"]),
        ({"meta": "[]"}, BESIDE_FORGOTTEN, ["meta"]),
        ({"meta": "x"}, BESIDE_FORGOTTEN, ["meta"]),
        ({"meta": None}, BESIDE_FORGOTTEN, ["meta"]),
        ({"event_type": "y", "received_at": "t9"}, FORGOTTEN, ["event_type", "received_at"]),
    ],
)
def test_what_cannot_change_is_a_mistake(said: dict[str, Any], here: dict[str, Any], columns: list[str]) -> None:
    """Each column in which the file cannot have been right is named."""
    assert differing(EVENT._replace(**said), EVENT._replace(**here)) == columns
