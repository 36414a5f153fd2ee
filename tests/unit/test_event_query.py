"""What people write to say which events they look for is understood, or refused with what could stand there."""

import orjson
import pytest

from server.base.clock import WALL_MS_MAX
from server.observe.event_query import BadQuery, number_of, path_text, query_of, statuses_of, time_of, where_of
from storage.read.conditions import has
from storage.statuses import EventStatus

NOW_MS = 1_782_907_200_500
"""2026-07-01T12:00:00.5Z"""
NOON_MS = NOW_MS - 500
NO_SECONDS = ("2026-07-01T12:00:61Z", "2026-07-01T12:60:60Z", "2026-07-01T12:00:605Z", "12:00:60Z")


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("2026-07-01T12:00:00Z", NOON_MS),
        ("2026-07-01T12:00:00", NOON_MS),
        ("2026-07-01 12:00", NOON_MS),
        ("2026-07-01T14:00:00+02:00", NOON_MS),
        ("2026-07-01T12:00:00.250Z", NOON_MS + 250),
        ("2026-07-01", NOON_MS - 12 * 3_600_000),
        ("today", NOON_MS - 12 * 3_600_000),
        ("yesterday", NOON_MS - 36 * 3_600_000),
        ("24h", NOW_MS - 86_400_000),
        ("30s", NOW_MS - 30_000),
        ("5m", NOW_MS - 300_000),
        ("2d", NOW_MS - 172_800_000),
        ("1w", NOW_MS - 604_800_000),
        ("2026-07-01t12:00:00z", NOON_MS),
        ("2026-07-01T11:59:60Z", NOON_MS),
        ("2026-07-01t13:59:60.25+02:00", NOON_MS),
        ("2026-07-01T12:00:00.115Z", NOON_MS + 115),
        ("2026-07-01T12:00:00.115000000Z", NOON_MS + 115),
        ("2026-07-01T12:00:00.115001Z", NOON_MS + 116),
        ("2026-07-01T12:00:00.115000001Z", NOON_MS + 116),
        ("2026-07-01T12:00:00,1154999+00:00", NOON_MS + 116),
        ("9999-12-31T23:59:60Z", WALL_MS_MAX),
        ("9999-12-31T23:59:59.9999999Z", WALL_MS_MAX),
        ("0001-01-01T00:00+14:00", 0),
        ("999999999w", 0),
        ("0001-01-01", 0),
    ],
)
def test_a_time_is_absolute_or_ago(text: str, at_ms: int) -> None:
    """A time is RFC 3339, in UTC unless it says otherwise, a day, or how long ago. A leap second is the first moment of
    the next minute, and a time between two milliseconds is the later: what was received in the earlier is before it."""
    assert time_of(text, NOW_MS) == at_ms


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "24", "h", "-5h", "1.5h", "2026-13-01", "12:00", "24 h", "٣h", *NO_SECONDS]
)
def test_what_is_not_a_time_is_refused(text: str) -> None:
    """Whatever else is written is refused by name, with examples."""
    with pytest.raises(BadQuery, match="neither a time"):
        time_of(text, NOW_MS)


def test_outcomes_go_by_their_names() -> None:
    """An outcome, or several with commas; pending are the deferred ones too, and dead the discarded ones."""
    assert statuses_of("dead") == [EventStatus.DEAD, EventStatus.DISCARDED]
    assert statuses_of("discarded") == [EventStatus.DISCARDED]
    assert statuses_of("dropped, processed") == [EventStatus.PROCESSED, EventStatus.DROPPED]
    assert statuses_of("pending") == [EventStatus.PENDING, EventStatus.DEFERRED]
    assert statuses_of("deferred") == [EventStatus.DEFERRED]
    with pytest.raises(BadQuery, match="'done' is not an outcome: pending, deferred, processed"):
        statuses_of("done")


@pytest.mark.parametrize(
    ("text", "path", "values"),
    [
        ("payload.order.id=1001", ["payload", "order", "id"], ["1001", 1001]),
        ("/payload/order/id=1001", ["payload", "order", "id"], ["1001", 1001]),
        ("/payload/a.b/c~1d/~0e=x=y", ["payload", "a.b", "c/d", "~e"], ["x=y"]),
        ("/payload/=x", ["payload", ""], ["x"]),
        ("/payload//id=x", ["payload", "", "id"], ["x"]),
        ("/payload/~01/~1~0=x", ["payload", "~1", "/~"], ["x"]),
        ("payload.a~b=x", ["payload", "a~b"], ["x"]),
        ('payload.id="1001"', ["payload", "id"], ["1001"]),
        ("payload.ok=true", ["payload", "ok"], ["true", True]),
        ("payload.gone=null", ["payload", "gone"], ["null", None]),
        ("payload.list.0=1.5", ["payload", "list", "0"], ["1.5", 1.5]),
        ("payload.id=", ["payload", "id"], [""]),
        ("payload.id={}", ["payload", "id"], ["{}"]),
        ("event_type=order.paid", ["event_type"], ["order.paid"]),
    ],
)
def test_where_is_a_path_and_value(text: str, path: list[str], values: list[object]) -> None:
    """A dotted path or a JSON pointer; a value that is written as a number or in quotes is meant exactly."""
    found = where_of(text)
    assert (list(found.path), list(found.values)) == (path, values)
    assert [type(each) for each in found.values] == [type(each) for each in values]


@pytest.mark.parametrize("text", ["", "payload", "=1", ".a=1", "a..b=1", "payload.=1", "/payload/a"])
def test_a_broken_where_is_refused(text: str) -> None:
    """What is not PATH=VALUE is refused, with an example."""
    with pytest.raises(BadQuery, match="is not PATH=VALUE, as payload"):
        where_of(text)


@pytest.mark.parametrize("text", ["/payload/a~=1", "/payload/~2/b=1", "/payload/~~0=1"])
def test_a_pointers_tilde_has_two_meanings(text: str) -> None:
    """In a JSON pointer ~0 is a tilde and ~1 a slash; any other ~ is a mistake, rather than a key that nothing has."""
    with pytest.raises(BadQuery, match="~0 stands for ~ and ~1 for /"):
        where_of(text)


@pytest.mark.parametrize("path", ["order.id", "/order/id", "Payload.id", "result.booked", "/", "//payload"])
def test_a_where_begins_with_an_events_field(path: str) -> None:
    """A path that no event can have is refused, rather than finding nothing, with the one that was probably meant."""
    meant = f"/payload{path}" if path.startswith("/") else f"payload.{path}"
    with pytest.raises(BadQuery, match=f"begins with one of inbound_event_id, .*; of what was sent, that is {meant}"):
        where_of(f"{path}=1001")


@pytest.mark.parametrize(("since", "until"), [("2026-07-02", "2026-07-01"), ("today", "today"), ("1h", "2h")])
def test_a_period_ends_after_it_begins(since: str, until: str) -> None:
    """A period that holds no moment is a mistake, rather than an answer without events."""
    with pytest.raises(BadQuery, match="is not later than"):
        query_of(NOW_MS, since=since, until=until)


@pytest.mark.parametrize(
    ("text", "payload", "is_found"),
    [
        ("payload.v.0=a", '{"v":["a"]}', True),
        ("/payload/v/10=a", '{"v":[0,0,0,0,0,0,0,0,0,0,"a"]}', True),
        ("payload.v.1=a", '{"v":["a"]}', False),
        ("/payload/v/00=a", '{"v":["a"]}', False),
        ("payload.v.00=a", '{"v":["a"]}', False),
        ("payload.v.01=a", '{"v":[0,"a"]}', False),
        ("payload.v.-1=a", '{"v":["a"]}', False),
        (f"payload.v.{'9' * 5000}=a", '{"v":["a"]}', False),
        ("payload.v.00=a", '{"v":{"00":"a"}}', True),
        ("/payload/=a", '{"":"a"}', True),
        ("payload.v=1", '{"v":1}', True),
        ("payload.v=1", '{"v":"1"}', True),
        ("payload.v=1", '{"v":1.0}', False),
        ("payload.v=1.0", '{"v":1}', False),
        ("payload.v=1.0", '{"v":1e0}', True),
        ("payload.v=0.1", '{"v":0.10}', True),
        ("payload.v=0.1", '{"v":"0.10"}', False),
        ("payload.v=-0", '{"v":0}', True),
        ("payload.v=-0.0", '{"v":0.0}', True),
        ("payload.v=18446744073709551615", '{"v":18446744073709551614}', False),
        ("payload.v=18446744073709551616", '{"v":18446744073709551617}', True),
        ("payload.v=18446744073709551616", '{"v":18446744073709551616.0}', True),
        ("payload.v=-9223372036854775809", '{"v":-9223372036854775810}', True),
        ("payload.v=true", '{"v":1}', False),
        ("payload.v=1", '{"v":1,"v":2}', False),
        ("payload.v=2", '{"v":1,"v":2}', True),
    ],
)
def test_values_are_compared_by_their_kind(text: str, payload: str, is_found: bool) -> None:
    """A place in an array has no leading zero; integers and other numbers are two kinds, each compared by value, those
    beyond 64 bits as doubles; of a key that an object has twice the last is seen. The page about commands says so."""
    assert has({"payload": orjson.loads(payload)}, where_of(text)) is is_found


def test_numbers_are_digits_of_bounded_length() -> None:
    """The number of an event is digits, and not so many that a key could not hold it."""
    assert number_of("4711") == 4711
    for text in ("", "-1", "1.0", "x", "9" * 19, "٣"):
        with pytest.raises(BadQuery, match="not the number"):
            number_of(text)


def test_nothing_said_means_all_events() -> None:
    """A query without conditions is for everything, and looks into nothing."""
    query = query_of(NOW_MS)
    assert (query.after, query.before, query.limit, query.looks_into_facts) == (0, None, None, False)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (["payload", "order", "id"], "payload.order.id"),
        (["payload", "0"], "payload.0"),
        (["payload", "a.b", "c/d~"], "/payload/a.b/c~1d~0"),
        (["payload", "/x"], "payload./x"),
        (["payload", ""], "/payload/"),
        (["payload", "", "~1"], "/payload//~01"),
    ],
)
def test_a_path_is_written_as_read(path: list[str], text: str) -> None:
    """A path is shown as it may be typed: dotted, or as a pointer where dots would be misread."""
    assert path_text(path) == text
    assert list(where_of(f"{text}=1").path) == path
