"""What becomes of events with a processor, as a user sees it: calls, receipts, results, retries, the dead.

The waits between attempts are shortened by `faults.py`; everything else is the installed server.
"""

import json
import signal
from typing import Any

import pytest

from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import calls, check_identity, pending, read_books, shut_gate, statuses, totals
from tests.support.server import Child, Children
from tests.support.waiting import eventually

QUICK = ("--waits", "0.01")


def worked(**keys: object) -> str:
    return source("worked", processor="processors:plain", **keys)


def post(child: Child, *items: object) -> None:
    assert child.post("worked", list(items)).status == 200


def settle(child: Child) -> None:
    """Return when nothing is pending."""
    eventually(lambda: pending(child, "worked") == 0)


def receipt(child: Child, event_id: str) -> dict[str, Any]:
    found: dict[str, Any] = child.admin(f"/receipts/worked/{event_id}").json
    return found


def test_a_restart_remembers_processed_ids(children: Children) -> None:
    """An id that was processed is known after kill -9 and a start: sent again it is a duplicate."""
    child = children(worked())
    child.start()
    post(child, item("a"), item("b"))
    settle(child)
    child.kill()
    child.start()
    post(child, item("a"), item("c"))
    settle(child)
    assert sorted(event_id for ids in calls(child) for event_id in ids) == ["a", "b", "c"], "a second call for an id"
    assert statuses(child, "worked", "a") == ["processed", "duplicate"]
    check_identity(child)


def test_an_outcome_comes_with_its_archive(children: Children) -> None:
    """As soon as an outcome can be seen, so can the event and its result, whatever dies next."""
    child = children(worked())
    child.start()
    post(child, item("a", do="result", value={"answer": 42}))
    settle(child)
    child.kill()
    totals(child)
    found = json.loads(child.cli("event", "worked", "a", check=True).stdout)
    assert list(found)[9:] == ["result"]
    assert found["result"] == {"answer": 42}


def test_an_id_is_held_until_its_outcome(children: Children) -> None:
    """While an outcome cannot be written, no other event of its id is processed."""
    child = children(worked(processor_batch_events_max=1), launch=("--faults", "faults"))
    child.start()
    with shut_gate(child):
        post(child, item("first", do="hang"), item("a"), item("a"), item("b"))
        eventually(lambda: calls(child))
        (child.directory / "faults").write_text("full")
    eventually(lambda: ["b"] in calls(child))
    (child.directory / "faults").unlink()
    settle(child)
    assert calls(child) == [["first"], ["a"], ["b"]], "a second call for an id"
    assert statuses(child, "worked", "a") == ["processed", "duplicate"]


def test_duplicate_during_the_rebuild_of_the_index(children: Children) -> None:
    """Deliveries are taken at once after a start; none of them is processed before the index stands."""
    child = children(worked())
    child.start()
    post(child, *(item(f"id-{at}") for at in range(2000)))
    settle(child)
    child.kill()
    child.start()
    post(child, *(item(f"id-{at}") for at in range(2000)))
    settle(child)
    assert sum(map(len, calls(child))) == 2000
    assert receipt(child, "id-7")["outcome"] == "processed"


def test_the_second_in_flight_is_a_duplicate(children: Children) -> None:
    """Of two events of one id the second is the first's duplicate once that is processed, and names its delivery."""
    child = children(worked())
    child.start()
    with shut_gate(child):
        first = child.post("worked", item("a", do="hang")).json["delivery"]
        eventually(lambda: calls(child))
        second = child.post("worked", [item("b"), item("a")]).json["delivery"]
    settle(child)
    assert sorted(calls(child)) == [["a"], ["b"]]
    receipts = json.loads(child.cli("receipt", "worked", "a", "--all", check=True).stdout)
    assert [(each["outcome"], each["delivery"]) for each in receipts] == [("duplicate", second), ("processed", first)]
    assert receipts[0]["duplicate_of"] == first


def test_a_duplicate_follows_when_the_first_dies(children: Children) -> None:
    """Only a processed event counts as seen: when the first of an id dies, the next one is processed."""
    child = children(worked(processor_attempts_max=2), launch=QUICK)
    child.start()
    post(child, item("a", do="fail"), item("a"), item("a"))
    settle(child)
    assert statuses(child, "worked", "a") == ["dead", "processed", "duplicate"]
    assert calls(child) == [["a"], ["a"], ["a"]]


@pytest.mark.parametrize("value", [0, "text", [1, {"a": None}], False], ids=repr)
def test_any_result_is_the_tenth_field(children: Children, value: object) -> None:
    """What the processor returns for an event is its tenth field; None is no result."""
    child = children(worked())
    child.start()
    post(child, item("a", do="result", value=value), item("b"))
    settle(child)
    assert child.admin("/events/worked/a").json["result"] == value
    assert "result" not in child.admin("/events/worked/b").json


def test_a_failed_entry_fails_its_event_alone(children: Children) -> None:
    """An exception instance fails its own event only; it is tried again alone, counted, and later ones pass."""
    child = children(worked(), launch=QUICK)
    child.start()
    post(child, item("a"), item("b", do="fail", times=2), item("c"))
    settle(child)
    assert calls(child) == [["a", "b", "c"], ["b"], ["b"]]
    assert [receipt(child, event_id)["attempts"] for event_id in "abc"] == [0, 2, 0]
    assert child.metrics()['tidegate_processor_failures_total{source="worked"}'] == 2


def test_a_poisonous_event_dies_alone(children: Children) -> None:
    """A failed batch goes on one by one, uncounted; the poisonous event alone is dead after its attempts."""
    child = children(worked(processor_attempts_max=3), launch=QUICK)
    child.start()
    post(child, item("a"), item("b", do="raise"), item("c"))
    settle(child)
    assert calls(child) == [["a", "b", "c"], ["a"], ["b"], ["c"], ["b"], ["b"]]
    dead = receipt(child, "b")
    assert (dead["outcome"], dead["attempts"], dead["error"]) == ("dead", 3, "ValueError: the batch is bad")
    assert [receipt(child, event_id)["attempts"] for event_id in "ac"] == [0, 0]
    assert [json.loads(line)["inbound_event_id"] for line in child.cli("dead").stdout.splitlines()] == ["b"]
    check_identity(child)


def test_a_large_context_makes_small_calls(children: Children) -> None:
    """A batch that gives each of its events much goes to the processor in several calls, in order, each event once; of
    a call that fails, and of those behind it, each goes alone."""
    child = children(source("worked", type="segment", processor="processors:plain"), launch=QUICK)
    child.start()
    context = {"text": "x" * 900_000}
    for first, do in (("a", {}), ("b", {"do": "raise", "times": 2})):
        ids = [f"{first}{at}" for at in range(6)]
        batch = [{"type": "page", "messageId": each, **(do if each.endswith("4") else {})} for each in ids]
        assert child.post("worked", {"batch": batch, "context": context}).status == 200
        settle(child)
    assert calls(child)[:2] == [["a0", "a1", "a2"], ["a3", "a4", "a5"]]
    assert calls(child)[2:] == [["b0", "b1", "b2"], ["b3", "b4", "b5"], ["b3"], ["b4"], ["b5"], ["b4"]]
    check_identity(child)


def test_an_outage_counts_no_attempt(children: Children) -> None:
    """While the world behind the processor is away, what waits is tried again and nothing is counted."""
    child = children(worked(processor_attempts_max=1), launch=QUICK)
    child.start()
    post(child, item("a", do="outage", times=6))
    settle(child)
    assert calls(child) == [["a"]] * 7
    assert receipt(child, "a")["attempts"] == 0
    assert child.metrics()[FAILURES] == 6


def test_an_outage_of_one_is_its_failure(children: Children) -> None:
    """Where another event succeeds after one met an outage alone, that one has failed, and is parked."""
    child = children(worked(), launch=QUICK)
    child.start()
    post(child, item("a"), item("b", do="outage", times=2), item("c"))
    settle(child)
    assert calls(child) == [["a", "b", "c"], ["a"], ["b"], ["c"], ["b"]]
    assert [receipt(child, event_id)["attempts"] for event_id in "abc"] == [0, 1, 0]


@pytest.mark.parametrize("do", ["outage", "away"])
def test_refusing_some_for_ever_blocks_nobody(children: Children, do: str) -> None:
    """Events whose receiver is always away end dead after their attempts, while all others pass, with any room."""
    child = children("[queue]\nevents_max = 1\n" + worked(processor_attempts_max=2), launch=QUICK)
    child.start()
    post(child, item("bad0", do=do), item("bad1", do=do), item("a"), item("bad2", do=do), item("b"))
    sent = ["a", "b"]

    def is_through() -> bool:
        if pending(child, "worked") == 0:
            return True
        sent.append(f"more{len(sent)}")
        post(child, item(sent[-1]))
        return False

    eventually(is_through)
    for event_id in ("bad0", "bad1", "bad2"):
        dead = receipt(child, event_id)
        assert (dead["outcome"], dead["attempts"]) == ("dead", 2)
        assert dead["error"] == "ConnectionError: nobody answers"
    assert [receipt(child, event_id)["outcome"] for event_id in sent] == ["processed"] * len(sent)
    check_identity(child)


def test_a_source_names_its_outages(children: Children) -> None:
    """A class in `processor_outages` counts nothing; a reload that takes it out is in force at once."""
    child = children(
        worked(processor_attempts_max=1, processor_outages=["builtins.LookupError", "builtins.ValueError"]),
        launch=QUICK,
    )
    child.start()
    post(child, item("a", do="raise", times=3))
    settle(child)
    assert (receipt(child, "a")["outcome"], receipt(child, "a")["attempts"]) == ("processed", 0)
    child.write(worked(processor_attempts_max=1))
    child.reload()
    post(child, item("b", do="raise", times=1))
    settle(child)
    assert receipt(child, "b")["outcome"] == "dead"


def test_an_outage_by_entry_counts_nothing(children: Children) -> None:
    """An entry that says outage leaves its neighbours processed; the source waits and goes on with it, uncounted."""
    child = children(worked(processor_attempts_max=1), launch=QUICK)
    child.start()
    post(child, item("a"), item("b", do="away", times=3), item("c"))
    settle(child)
    assert calls(child) == [["a", "b", "c"], ["b"], ["b"], ["b"]]
    assert [receipt(child, event_id)["outcome"] for event_id in "abc"] == ["processed"] * 3
    assert receipt(child, "b")["attempts"] == 0


SHORT = {"processor_timeout_seconds": 0.1, "processor_attempts_max": 1}
FAILURES = 'tidegate_processor_failures_total{source="worked"}'


def test_a_late_plain_call_is_let_go_on(children: Children) -> None:
    """A plain call that outruns its timeout has failed; it goes on, and none is started beside it."""
    child = children(worked(**SHORT), launch=QUICK)
    child.start()
    with shut_gate(child):
        post(child, item("a", do="hang"), item("b"))
        eventually(lambda: child.metrics()[FAILURES] == 1)
        child.write(worked(processor_attempts_max=1))  # those that follow are not to be late
        child.reload()
        assert calls(child) == [["a", "b"]]
    settle(child)
    assert {event.id: event.status for event in read_books(child).events} == {"a": "processed", "b": "processed"}


def test_a_late_async_call_has_failed(children: Children) -> None:
    """An async call that outruns its timeout has failed and is cancelled, so the next one can start."""
    child = children(source("worked", processor="processors:pausing", **SHORT), launch=QUICK)
    child.start()
    post(child, item("a"), item("b"))
    settle(child)
    assert {event.id: event.status for event in read_books(child).events} == {"a": "dead", "b": "dead"}


def test_an_answer_of_another_length_is_a_failure(children: Children) -> None:
    """Nobody could tell which event an entry is of."""
    child = children(worked(processor_attempts_max=1), launch=QUICK)
    child.start()
    post(child, item("a", do="length"), item("b"))
    settle(child)
    assert receipt(child, "a")["error"] == "returned neither None nor one entry for each of 1 events"
    assert receipt(child, "b")["outcome"] == "processed"


def test_a_result_that_cannot_be_kept_is_replaced(children: Children) -> None:
    """The work was done: its event is processed, once, and the log says so. One of many digits keeps all of them."""
    child = children(worked())
    child.start()
    post(child, item("a", do="big"), item("b", do="odd", value="complex"), item("c", do="odd", value="large"))
    settle(child)
    assert calls(child) == [["a", "b", "c"]]
    results = [json.loads(child.cli("event", "worked", each, check=True).stdout)["result"] for each in "abc"]
    assert results == [{"too_large": 70002}, {"unserialisable": "complex"}, [10**30 + 1, 10**400]]
    assert child.admin("/events/worked/c").json["result"] == results[2]
    line = child.wait_for_line("result not kept")
    assert (line["source"], line["instead"]) == ("worked", '{"too_large":70002}')
    assert child.cli("verify").returncode == 0


def test_requeue_of_a_dead_event(children: Children) -> None:
    """A dead event that is given back starts from no attempts; unknown ids are named and make the command exit 1."""
    child = children(worked(processor_attempts_max=1), launch=QUICK)
    child.start()
    post(child, item("a", do="fail", times=1), item("b", do="fail", times=1))
    settle(child)
    assert statuses(child, "worked", "a") == ["dead"]
    done = child.cli("requeue", "worked", "a", "nobody")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"requeued": 1, "unknown": ["nobody"]}
    settle(child)
    assert (receipt(child, "a")["outcome"], receipt(child, "b")["outcome"]) == ("processed", "dead")
    assert receipt(child, "a")["attempts"] == 0
    assert json.loads(child.cli("requeue", "worked", "--all", check=True).stdout)["requeued"] == 1
    settle(child)
    assert receipt(child, "b")["outcome"] == "processed"
    check_identity(child)


def test_requeue_of_what_was_processed_meanwhile(children: Children) -> None:
    """Where the id was processed meanwhile, the requeued event is a duplicate, and the processor does not see it."""
    child = children(worked(processor_attempts_max=1), launch=QUICK)
    child.start()
    post(child, item("a", do="fail", times=1))
    settle(child)
    post(child, item("a", do="fail", times=1))
    settle(child)
    before = calls(child)
    child.cli("requeue", "worked", "a", check=True)
    settle(child)
    assert statuses(child, "worked", "a") == ["duplicate", "processed"]
    assert calls(child) == before


def test_a_requeue_needs_no_room_in_memory(children: Children) -> None:
    """Its events are pending at once, though the parked ones leave their source no room; only numbers are kept."""
    queue = "[queue]\nevents_max = 1\n"
    child = children(queue + worked(processor_attempts_max=1), launch=("--waits", "3600"))
    child.start()
    post(child, item("dead", do="fail", times=1))
    settle(child)
    child.write(queue + worked())
    child.reload()
    post(child, item("in retry", do="fail"))
    eventually(lambda: receipt(child, "in%20retry").get("attempts") == 1)
    assert json.loads(child.cli("requeue", "worked", "--all", check=True).stdout)["requeued"] == 1
    assert receipt(child, "dead")["pending"] is True
    assert pending(child, "worked") == 2


def test_requeued_events_go_in_batches(children: Children) -> None:
    """By their numbers, in batches of their own, in turn with fresh ones; what fails of them goes on alone."""
    child = children(worked(processor_attempts_max=1), launch=QUICK)
    child.start()
    post(child, *(item(f"dead{at}", do="fail", times=1) for at in range(5)), item("dead5", do="fail"))
    settle(child)
    child.write(worked(processor_attempts_max=2, processor_batch_events_max=2))
    child.reload()
    with shut_gate(child):
        post(child, item("first", do="hang"))
        eventually(lambda: ["first"] in calls(child))
        child.cli("requeue", "worked", "--all", check=True)
        post(child, *(item(f"fresh{at}") for at in range(4)))
        eventually(lambda: pending(child, "worked") == 11)
    settle(child)
    assert calls(child)[2:] == [
        ["dead0", "dead1"],
        ["fresh0", "fresh1"],
        ["dead2", "dead3"],
        ["fresh2", "fresh3"],
        ["dead4", "dead5"],
        ["dead5"],
    ]
    assert (receipt(child, "dead4")["outcome"], receipt(child, "dead5")["outcome"]) == ("processed", "dead")
    check_identity(child)


def test_a_batch_of_requeued_has_few_bytes(children: Children) -> None:
    """However large the bodies are, only a few of them are read into memory at a time."""
    child = children(worked(processor_attempts_max=1), launch=QUICK)
    child.start()
    for at in range(6):
        post(child, item(f"dead{at}", do="fail", times=1, text="x" * 900_000))
    settle(child)
    before = len(calls(child))
    child.cli("requeue", "worked", "--all", check=True)
    settle(child)
    assert calls(child)[before:] == [["dead0", "dead1", "dead2", "dead3"], ["dead4", "dead5"]]


def test_those_next_in_line_go_together(children: Children) -> None:
    """When many events die, those that waited for their ids are processed in a batch."""
    child = children(worked(processor_attempts_max=1), launch=QUICK)
    child.start()
    with shut_gate(child):
        post(child, item("first", do="hang"), *(item(f"id{at}", do="fail", times=1) for at in range(3)))
        eventually(lambda: calls(child))
        post(child, *(item(f"id{at}") for at in range(3)))
        eventually(lambda: pending(child, "worked") == 7)
    settle(child)
    assert calls(child) == [["first", "id0", "id1", "id2"], ["id0", "id1", "id2"]]
    assert [statuses(child, "worked", f"id{at}") for at in range(3)] == [["dead", "processed"]] * 3
    check_identity(child)


def test_requeue_on_a_stopped_server(children: Children) -> None:
    """Without a server the command writes the store itself; the next start processes what it gave back."""
    child = children(worked(processor_attempts_max=1), launch=QUICK)
    child.start()
    post(child, item("a", do="fail", times=1))
    settle(child)
    child.stop()
    child.cli("requeue", "worked", "a", check=True)
    assert statuses(child, "worked", "a") == ["pending"]
    child.start()
    settle(child)
    assert receipt(child, "a")["outcome"] == "processed"


def test_attempts_survive_a_restart(children: Children) -> None:
    """Attempts are counted on across kill -9; a retry is due at once after the start."""
    child = children(worked(processor_attempts_max=3), launch=("--waits", "0.01,3600"))
    child.start()
    post(child, item("a", do="fail"), item("b"))
    eventually(lambda: receipt(child, "a").get("attempts") == 2)
    assert receipt(child, "a")["pending"] is True
    child.kill()
    child.start()
    settle(child)
    assert (receipt(child, "a")["outcome"], receipt(child, "a")["attempts"]) == ("dead", 3)
    assert calls(child) == [["a", "b"], ["a"], ["a"]]


def test_drain_in_a_wait(children: Children) -> None:
    """A source that waits after a failure does not hold up a drain; it begins anew after the start."""
    child = children(worked(), launch=("--waits", "3600"))
    child.start()
    post(child, item("a", do="outage", times=1))
    eventually(lambda: child.metrics()['tidegate_processor_failures_total{source="worked"}'] == 1)
    child.signal(signal.SIGTERM)
    assert child.wait() == 0
    assert not child.errors
    child.start()
    settle(child)
    assert calls(child) == [["a"], ["a"]]


def test_a_requeued_event_on_disk_is_fed_once(children: Children) -> None:
    """After a start with a full queue a requeued event lies ahead of what was fed; it is fed once, in its place.

    It came to the consumer twice, and its second outcome ended the server.
    """
    child = children(worked(), launch=("--waits", "3600", "--faults", "faults"))
    child.start()
    for at in range(20):
        post(child, item(f"retry{at}", do="fail", times=1, text="x" * 10_000))
    eventually(lambda: receipt(child, "retry19").get("attempts") == 1)
    child.write(worked(processor_attempts_max=1))
    child.reload()
    post(child, item("dead", do="fail", times=1))
    eventually(lambda: receipt(child, "dead").get("outcome") == "dead")
    child.kill()
    child.write("[queue]\nbytes_max = 100000\n" + source("worked", processor="processors:silent"))
    child.start()
    with shut_gate(child):
        child.wait_for_line("index ready")
        child.cli("requeue", "worked", "dead", check=True)
        (child.directory / "faults").write_text("full")
    eventually(lambda: child.metrics()['tidegate_processor_seconds_count{source="worked"}'] >= 21)
    (child.directory / "faults").unlink()
    settle(child)
    assert statuses(child, "worked", "dead") == ["processed"]
    assert child.metrics()['tidegate_processor_seconds_count{source="worked"}'] == 21
    assert child.stop() == 0


def test_refused_events_do_not_slow_their_source(children: Children) -> None:
    """Events that alone meet an outage go in turn with others, which tell at once that the world is there: after the
    wait of their batch there is none."""
    child = children(
        source("worked", processor="processors:plain", processor_batch_events_max=4), launch=("--waits", "0,3600")
    )
    child.start()
    away = [item(each, do="away") for each in "abc"]
    child.post("worked", [*away, *(item(each) for each in "defg")])
    eventually(lambda: [receipt(child, each)["attempts"] for each in "abc"] == [1, 1, 1])
    assert calls(child)[:7] == [["a", "b", "c", "d"], ["a"], ["e"], ["b"], ["f"], ["c"], ["g"]]
    assert pending(child, "worked") == 3
    check_identity(child)
