"""The packages of Segment and RudderStack for Python, unmodified, against a running server that dies and drains on the
way.
"""

import json
from typing import Any

import pytest
from rudderstack.analytics.client import Client as RudderStack
from segment.analytics.client import Client as Segment

from tests.support.config import source
from tests.support.ledger import check_identity, pending, statuses, totals
from tests.support.relay import HOLDING, LAUNCH, draining, full, killed_after, killed_before, relaying
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually

KEY = "a-write-key"
SOURCES = source("app", type="segment", tokens=[KEY]) + source(HOLDING, processor="processors:plain")
COUNT, BATCH = 60, 10


SDKS = {"segment": Segment, "rudderstack": RudderStack}


def client(name: str, host: str, *, gzip: bool) -> tuple[Any, list[str]]:
    """An SDK, and the ids of what it reports as lost."""
    lost: list[str] = []
    made = SDKS[name](
        KEY,
        host=host,
        gzip=gzip,
        timeout=HANG_SECONDS,
        upload_size=BATCH,
        on_error=lambda _, batch: lost.extend(each["messageId"] for each in batch),
    )
    return made, lost


def event_of(child: Child, event_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(child.admin(f"/events/app/{event_id}").body)
    return found


@pytest.mark.parametrize("name", SDKS)
@pytest.mark.parametrize(
    ("path", "gzip"), [("", False), ("/ingest/inbound/app", True), ("/ingest/inbound/app/", False)]
)
def test_every_kind_of_event_arrives(children: Children, name: str, path: str, gzip: bool) -> None:
    """Each call arrives under its messageId with its type, its payload and the batch's time of sending; the host may be
    the server alone, or the address of the source."""
    child = children(SOURCES)
    child.start()
    sdk, lost = client(name, f"http://127.0.0.1:{child.port}{path}", gzip=gzip)
    calls = [
        sdk.identify("user-1", {"plan": "pro", "name": "Zoë"}),
        sdk.track("user-1", "Order Completed", {"revenue": 42.5}),
        sdk.page("user-1", "docs", "Home", {"url": "https://example.com/"}),
        sdk.screen("user-1", "app", "Start"),
        sdk.group("user-1", "group-1", {"seats": 3}),
        sdk.alias("user-0", "user-1"),
    ]
    sdk.shutdown()
    assert lost == []
    eventually(lambda: child.metrics()['tidegate_events_total{outcome="processed",source="app"}'] == len(calls))
    events = [event_of(child, message["messageId"]) for _, message in calls]
    assert [event["event_type"] for event in events] == ["identify", "track", "page", "screen", "group", "alias"]
    person = events[0]["payload"]
    assert (person.get("traits") or person["context"]["traits"]) == {"plan": "pro", "name": "Zoë"}
    assert events[1]["payload"]["properties"] == {"revenue": 42.5}
    for event in events:
        assert event["payload"]["messageId"] == event["inbound_event_id"] == event["provider_event_id"]
        assert event["payload"]["context"]["library"]["name"].endswith("analytics-python")
        assert event["meta"]["sent_at"]
        assert event["headers"]["user-agent"].startswith("analytics-python/")
        assert KEY not in json.dumps(event)


@pytest.mark.parametrize(("name", "gzip"), [("segment", True), ("rudderstack", False)])
def test_kills_and_drains_lose_nothing(children: Children, name: str, gzip: bool) -> None:
    """What the SDK reports as sent was processed once, though a server was killed before a batch, another one between
    its commit and its answer, a third one drained, and a fourth had a full disk; and it reports nothing as lost. It
    compresses as it does not by itself: see `test_sdk_conditions.py`."""
    child = children(SOURCES, launch=LAUNCH)
    child.start()
    happenings = {2: killed_before, 4: killed_after, 6: draining, 7: full}
    with relaying(child, happenings) as relay:
        sdk, lost = client(name, relay.url, gzip=gzip)
        ids = [sdk.track("user-1", "Counted", {"number": number})[1]["messageId"] for number in range(COUNT)]
        sdk.shutdown()
    assert relay.errors == []
    assert [relay.statuses[number - 1] for number in happenings] == [None, None, 200, 429]
    assert lost == []
    eventually(lambda: pending(child, "app") == 0)
    assert [statuses(child, "app", each).count("processed") for each in ids] == [1] * COUNT
    counted = totals(child)["app"]
    assert counted["processed"] == COUNT
    assert 0 < counted["duplicate"] <= BATCH
    check_identity(child)


@pytest.mark.parametrize("name", SDKS)
def test_a_wrong_key_is_reported(children: Children, name: str) -> None:
    """A write key that is none is told at once, for each event, and nothing is kept."""
    child = children(source("app", type="segment", tokens=["another-key"]))
    child.start()
    sdk, lost = client(name, f"http://127.0.0.1:{child.port}", gzip=False)
    ids = [sdk.track("user-1", "Counted")[1]["messageId"] for _ in range(3)]
    sdk.shutdown()
    assert lost == ids
    assert child.metrics()['tidegate_events_received_total{source="app"}'] == 0
