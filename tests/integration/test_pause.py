"""A paused source: its events are taken and kept, and wait; what it had in hand finishes; then it goes on as before."""

import json

import pytest

from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import calls, check_identity, pending, shut_gate, statuses
from tests.support.server import Child, Children
from tests.support.waiting import eventually

OTHER = source("other")


def worked(**keys: object) -> str:
    return source("worked", **{"processor": "processors:plain", **keys})


def post(child: Child, *items: object, name: str = "worked") -> int:
    return child.post(name, list(items)).status


def change(child: Child, sections: str) -> None:
    child.write(sections)
    child.reload()


def pass_by(child: Child, event_id: str) -> None:
    """Return when an event that came after the others is through at another source."""
    assert post(child, item(event_id), name="other") == 200
    eventually(lambda: statuses(child, "other", event_id) == ["processed"])


@pytest.mark.parametrize("processor", ["processors:plain", ""])
def test_a_paused_source_keeps_its_events(children: Children, processor: str) -> None:
    """Without a processor too, and from the start: no outcome, across a drain; all of it is told; then it goes on."""
    child = children(worked(processor=processor, paused=True) + OTHER)
    child.start()
    assert post(child, item("a"), item("a"), item("b")) == 200
    pass_by(child, "first")
    assert child.stop() == 0
    child.start()
    pass_by(child, "second")
    assert pending(child, "worked") == 3
    assert {each["id"]: each["paused"] for each in child.admin("/sources").json["sources"]} == {
        "worked": True,
        "other": False,
    }
    [warning] = child.request("GET", "/readyz").json["warnings"]
    assert (warning["warning"], "worked" in warning["message"]) == ("paused", True)
    samples = child.metrics()
    assert samples['tidegate_source_paused{source="worked"}'] == 1
    assert samples['tidegate_source_paused{source="other"}'] == 0
    assert samples['tidegate_oldest_pending_seconds{source="worked"}'] > 0
    change(child, worked(processor=processor) + OTHER)
    eventually(lambda: pending(child, "worked") == 0)
    assert calls(child) == ([["a", "b"]] if processor else [])
    assert statuses(child, "worked", "a") == ["processed", "duplicate"]
    assert child.metrics()['tidegate_source_paused{source="worked"}'] == 0
    assert child.request("GET", "/readyz").json["warnings"] == []
    check_identity(child)


def test_a_pause_lets_the_call_finish(children: Children) -> None:
    """The call in hand counts; what waited in memory waits on, and nothing of it is held there."""
    child = children(worked(processor_batch_events_max=1) + OTHER)
    child.start()
    with shut_gate(child):
        post(child, item("a", do="hang"), item("b"))
        eventually(lambda: calls(child))
        change(child, worked(processor_batch_events_max=1, paused=True) + OTHER)
        post(child, item("c"))
    eventually(lambda: statuses(child, "worked", "a") == ["processed"])
    pass_by(child, "other")
    assert (calls(child), pending(child, "worked")) == ([["a"]], 2)
    change(child, worked(processor_batch_events_max=1) + OTHER)
    eventually(lambda: pending(child, "worked") == 0)
    assert calls(child) == [["a"], ["b"], ["c"]]
    check_identity(child)


def test_a_retry_waits_on_after_a_pause(children: Children) -> None:
    """Attempts and waits stand still: a retry is neither made meanwhile nor due at once afterwards."""
    child = children(worked() + OTHER, launch=("--waits", "3600"))
    child.start()
    post(child, item("a", do="fail", times=1))
    eventually(lambda: child.admin("/receipts/worked/a").json.get("attempts") == 1)
    change(child, worked(paused=True) + OTHER)
    change(child, worked() + OTHER)
    post(child, item("b"))
    eventually(lambda: statuses(child, "worked", "b") == ["processed"])
    assert calls(child) == [["a"], ["b"]]
    assert child.admin("/receipts/worked/a").json["attempts"] == 1


def test_a_requeue_enters_a_paused_source(children: Children) -> None:
    """At once, however little room there is in memory: its events are pending, and go on with the source."""
    queue = "[queue]\nevents_max = 1\n"
    child = children(queue + worked(processor_attempts_max=1) + OTHER)
    child.start()
    post(child, *(item(f"dead{at}", do="fail", times=1) for at in range(4)))
    eventually(lambda: pending(child, "worked") == 0)
    change(child, queue + worked(paused=True) + OTHER)
    before = calls(child)
    assert json.loads(child.cli("requeue", "worked", "--all", check=True).stdout)["requeued"] == 4
    pass_by(child, "other")
    assert (calls(child), pending(child, "worked")) == (before, 4)
    change(child, queue + worked() + OTHER)
    eventually(lambda: pending(child, "worked") == 0)
    assert [statuses(child, "worked", f"dead{at}") for at in range(4)] == [["processed"]] * 4
    check_identity(child)


def test_a_pause_is_no_drain(children: Children) -> None:
    """What its rate limit drops is dropped, and at the backlog's limit it refuses as ever."""
    limited = {"rate_limit_events_per_second": 1e-6, "rate_limit_burst_events": 2, "over_limit": "drop"}
    child = children("[queue]\nbacklog_events_max = 2\n" + worked(paused=True, **limited))
    child.start()
    answer = child.post("worked", [item("a"), item("b"), item("c")])
    assert (answer.status, answer.json["accepted"], answer.json["dropped"]) == (200, 2, 1)
    refused = child.post("worked", item("d"))
    assert (refused.status, refused.json["code"]) == (503, "overloaded")
    assert statuses(child, "worked", "c") == ["dropped"]
    assert pending(child, "worked") == 2
    check_identity(child)


def test_taking_a_processor_out_is_told(children: Children) -> None:
    """A reload that takes a processor out says how many pending events will be archived without it; one that does not,
    nothing."""
    child = children(worked(paused=True) + source("idle", processor="processors:plain"))
    child.start()
    post(child, item("a"), item("b"))
    eventually(lambda: pending(child, "worked") == 2)
    lines = change_and_say(child, worked(paused=True, processor="") + source("idle"))
    assert [(line["source"], line["pending"]) for line in lines] == [("worked", 2)]
    assert change_and_say(child, worked(processor="") + source("idle")) == []
    eventually(lambda: pending(child, "worked") == 0)
    assert calls(child) == []


def change_and_say(child: Child, sections: str) -> list[dict[str, object]]:
    """The warnings of a reload."""
    child.write(sections)
    return [line for line in child.reload() if line["level"] == "warning"]
