"""Limits on the running server: rate limits in their three modes, backlogs, bodies in flight, queues that are full.

Rates are so low that no token comes back within a test, or there is a lower bound for how long it takes; a burst, which
a start gives, is what a test counts on.
"""

import time

from tests.support.client import Response, item
from tests.support.config import source
from tests.support.ledger import calls, check_identity, pending, shut_gate, statuses
from tests.support.server import Child, Children
from tests.support.waiting import eventually

NEVER = 1e-6
"""Events per second: one in eleven days."""


def limited(**keys: object) -> str:
    rate = {"rate_limit_events_per_second": NEVER, "rate_limit_burst_events": 3}
    return source("worked", **{"processor": "processors:plain", **rate, **keys})


def ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{at}" for at in range(count)]


def post(child: Child, *event_ids: str, name: str = "worked") -> tuple[int, int, int]:
    """Accepted, deferred and dropped."""
    answer = child.post(name, [item(event_id) for event_id in event_ids])
    assert answer.status == 200
    return answer.json["accepted"], answer.json["deferred"], answer.json["dropped"]


def processed(child: Child) -> list[str]:
    """The ids that the processor has got, in order."""
    return [event_id for call in calls(child) for event_id in call]


def over_limit(child: Child) -> float:
    return child.metrics()['tidegate_events_over_limit_total{source="worked"}']


def test_a_burst_is_given_once(children: Children) -> None:
    """A burst is given once: what comes after it is over the limit."""
    child = children(limited(over_limit="drop"))
    child.start()
    assert post(child, *ids("a", 2)) == (2, 0, 0)
    assert post(child, *ids("b", 3)) == (1, 0, 2)
    assert post(child, "c") == (0, 0, 1)
    eventually(lambda: pending(child, "worked") == 0)
    assert processed(child) == ["a0", "a1", "b0"]
    assert over_limit(child) == 3
    check_identity(child)


def test_deferred_events_keep_order_across_kills(children: Children) -> None:
    """What is over the limit is kept, in order behind what is deferred, across kill -9; a start releases one burst."""
    child = children(limited())
    child.start()
    assert post(child, *ids("a", 5)) == (3, 2, 0)
    assert post(child, *ids("b", 3)) == (0, 3, 0)
    assert over_limit(child) == 5
    eventually(lambda: pending(child, "worked") == 5)
    assert child.admin("/receipts/worked/a3").json["deferred"] is True
    check_identity(child)
    child.kill()
    child.start()
    eventually(lambda: pending(child, "worked") == 2)
    assert post(child, *ids("c", 2)) == (0, 2, 0)
    assert processed(child) == [*ids("a", 5), "b0"]
    child.write(limited(rate_limit_events_per_second=0, rate_limit_burst_events=0))
    child.reload()
    eventually(lambda: pending(child, "worked") == 0)
    assert processed(child) == [*ids("a", 5), *ids("b", 3), *ids("c", 2)]
    assert child.metrics()['tidegate_events_deferred_total{source="worked"}'] == 7
    assert post(child, *ids("d", 9)) == (9, 0, 0)


def test_deferred_events_follow_as_tokens_return(children: Children) -> None:
    """Deferred events go on in order as tokens return, and not before."""
    child = children(limited(rate_limit_events_per_second=50, rate_limit_burst_events=1))
    child.start()
    started = time.monotonic()
    assert post(child, *ids("a", 20))[1] >= 15
    eventually(lambda: pending(child, "worked") == 0)
    assert time.monotonic() - started > 19 / 50
    assert processed(child) == ids("a", 20)


def test_dropped_events_are_on_record(children: Children) -> None:
    """What is over the limit is dropped on record; sent again with tokens it is taken."""
    child = children(limited(over_limit="drop"))
    child.start()
    assert post(child, *ids("a", 5)) == (3, 0, 2)
    assert post(child, "b") == (0, 0, 1)
    assert child.admin("/receipts/worked/a4").json["outcome"] == "dropped"
    assert child.admin("/events/worked/a4").json["inbound_event_id"] == "a4"
    assert child.admin("/receipts/worked/b").json["outcome"] == "dropped"
    assert child.admin("/events/worked/b").status == 404
    check_identity(child)
    child.kill()
    child.start()
    assert post(child, "a4", "b") == (2, 0, 0)
    eventually(lambda: pending(child, "worked") == 0)
    assert statuses(child, "worked", "b") == ["dropped", "processed"]
    check_identity(child)


def test_observed_events_are_admitted_and_counted(children: Children) -> None:
    """What is over the limit is admitted, and counted."""
    child = children(limited(over_limit="observe"))
    child.start()
    assert post(child, *ids("a", 5)) == (5, 0, 0)
    eventually(lambda: pending(child, "worked") == 0)
    assert over_limit(child) == 2


def test_a_changed_mode_applies_at_once(children: Children) -> None:
    """What is deferred keeps its wait when the mode becomes drop; with observe it goes on at once, in order."""
    child = children(limited())
    child.start()
    assert post(child, *ids("a", 5)) == (3, 2, 0)
    child.write(limited(over_limit="drop"))
    child.reload()
    assert post(child, "b") == (0, 0, 1)
    eventually(lambda: pending(child, "worked") == 2)
    child.write(limited(over_limit="observe"))
    child.reload()
    assert post(child, "c") == (1, 0, 0)
    eventually(lambda: pending(child, "worked") == 0)
    assert processed(child) == [*ids("a", 5), "c"]
    assert over_limit(child) == 4


def test_a_full_backlog_refuses_its_source_only(children: Children) -> None:
    """A source with `backlog_events_max` pending events gets 503 overloaded until some are through; others do not."""
    sections = source("worked", processor="processors:plain") + source("archive")
    child = children("[queue]\nbacklog_events_max = 5\n" + sections)
    child.start()
    with shut_gate(child):
        child.post("worked", item("first", do="hang"))
        eventually(lambda: calls(child))
        post(child, *ids("a", 4))
        assert_overloaded(child.post("worked", item("b")))
        post(child, *ids("a", 9), name="archive")
    eventually(lambda: pending(child, "worked") == 0)
    post(child, "b")
    eventually(lambda: pending(child, "worked") == 0)
    assert processed(child) == ["first", *ids("a", 4), "b"]


def test_a_full_queue_keeps_the_order(children: Children) -> None:
    """With a tiny queue and a hanging processor later events wait on disk, and are processed in order afterwards."""
    keys = {"processor": "processors:plain", "processor_batch_events_max": 7}
    child = children("[queue]\nevents_max = 10\n" + source("worked", **keys))
    child.start()
    with shut_gate(child):
        child.post("worked", item("first", do="hang"))
        eventually(lambda: calls(child))
        sent = ids("a", 300)
        for at in range(0, 200, 20):
            post(child, *sent[at : at + 20])
        for event_id in sent[200:]:
            post(child, event_id)
        assert pending(child, "worked") == 301
    eventually(lambda: pending(child, "worked") == 0)
    assert processed(child) == ["first", *sent]
    assert max(map(len, calls(child))) <= 7
    check_identity(child)


def test_hanging_source_harms_no_other(children: Children) -> None:
    """Processors that hang, with their queues full of bytes, do not hold up another source's events."""
    child = children(
        "[queue]\nbytes_max = 65536\n"
        + source("hanging", processor="processors:silent")
        + source("pausing", processor="processors:pausing")
        + source("worked", processor="processors:plain")
    )
    child.start()
    with shut_gate(child):
        for at in range(20):
            for name in ("hanging", "pausing"):
                assert child.post(name, item(f"{name}{at}", text="x" * 5000)).status == 200
        for event_id in ids("a", 20):
            post(child, event_id)
        eventually(lambda: pending(child, "worked") == 0)
        assert pending(child, "hanging") == 20
    eventually(lambda: pending(child, "hanging") == 0)
    assert pending(child, "pausing") == 20


def assert_overloaded(answer: Response) -> None:
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "overloaded", "5")
