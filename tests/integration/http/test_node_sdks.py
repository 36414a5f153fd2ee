"""The packages of Segment and RudderStack for Node, unmodified, against a running server that dies and drains on the
way.
"""

from collections.abc import Mapping

import pytest

from tests.support.config import source
from tests.support.ledger import check_identity, pending, statuses, totals
from tests.support.node import Answering
from tests.support.relay import HOLDING, LAUNCH, draining, full, killed_after, killed_before, relaying
from tests.support.server import Child, Children
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("node")  # the packages are installed once

KEY = "a-write-key"
SOURCES = source("app", type="segment", tokens=[KEY]) + source(HOLDING, processor="processors:plain")
COUNT, BATCH = 60, 10
SDKS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "segment 3": ("segment 3", {}),
    "segment 2, which has its key in the body": ("segment 2", {}),
    "rudderstack": ("rudderstack", {"gzip": False}),
    "rudderstack with gzip": ("rudderstack", {"gzip": True}),
}
"""Packages and their options."""


def sent(sdk: str, url: str, key: str = KEY) -> Mapping[str, list[str]]:
    """The ids that it reports as sent and as lost."""
    name, options = SDKS[sdk]
    with Answering("send.mjs") as sender:
        answer: Mapping[str, list[str]] = sender.ask([name, url, key, COUNT, BATCH, options])
    assert len(answer["sent"]) + len(answer["lost"]) == COUNT
    return answer


def check_sent_once(child: Child, ids: list[str]) -> None:
    """Raise AssertionError unless each was processed once."""
    eventually(lambda: pending(child, "app") == 0)
    assert [statuses(child, "app", each).count("processed") for each in ids] == [1] * len(ids)
    check_identity(child)


@pytest.mark.parametrize("sdk", SDKS)
def test_what_is_reported_sent_is_there(children: Children, sdk: str) -> None:
    """With the server's address alone for a host, all events arrive, and each is processed once."""
    child = children(SOURCES)
    child.start()
    answer = sent(sdk, f"http://127.0.0.1:{child.port}")
    assert answer["lost"] == []
    check_sent_once(child, answer["sent"])
    assert child.admin("/events/app/message-0").json["payload"]["properties"] == {"number": 0}


@pytest.mark.parametrize("sdk", SDKS)
def test_kills_and_drains_lose_nothing(children: Children, sdk: str) -> None:
    """What the SDK reports as sent was processed once, though a server was killed before a batch, another one between
    its commit and its answer, a third one drained, and a fourth had a full disk; and it reports nothing as lost."""
    child = children(SOURCES, launch=LAUNCH)
    child.start()
    happenings = {2: killed_before, 4: killed_after, 6: draining, 7: full}
    with relaying(child, happenings) as relay:
        answer = sent(sdk, relay.url)
    assert relay.errors == []
    assert [relay.statuses[number - 1] for number in happenings] == [None, None, 200, 429]
    assert answer["lost"] == []
    check_sent_once(child, answer["sent"])
    assert totals(child)["app"]["duplicate"] > 0


@pytest.mark.parametrize("sdk", SDKS)
def test_a_wrong_key_is_reported(children: Children, sdk: str) -> None:
    """A write key that is none is told for each event, and nothing is kept."""
    child = children(SOURCES)
    child.start()
    assert sent(sdk, f"http://127.0.0.1:{child.port}", "another")["sent"] == []
    assert child.metrics()['tidegate_events_received_total{source="app"}'] == 0
