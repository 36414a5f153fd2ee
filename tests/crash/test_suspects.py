"""Events that kill the process: after a few starts one is dead, and whoever was in hand beside it has its outcome."""

import signal
from contextlib import suppress
from http.client import HTTPException

from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import calls, check_identity, pending, receipts, shut_gate
from tests.support.server import Child, Children
from tests.support.waiting import eventually

ENDED = "the process ended while it was being processed"
STARTS_MAX = 12
SAID = "events were with a processor when the process died"


def start_until_calm(child: Child, *sources: str) -> int:
    """Start it anew whenever it has died, until nothing is pending; return how often it died."""
    for deaths in range(STARTS_MAX):
        child.start_if_it_can()
        eventually(lambda: child.has_ended or is_calm(child, sources))
        if not child.has_ended:
            return deaths
        child.wait()
    raise AssertionError(f"it died {STARTS_MAX} times: {calls(child)}")


def is_calm(child: Child, sources: tuple[str, ...]) -> bool:
    try:
        return all(pending(child, each) == 0 for each in sources)
    except OSError:  # it has just died
        return False


def send_killer(child: Child, death: str) -> None:
    """Return when the process has died of the second of three events."""
    with suppress(OSError, HTTPException):  # it may die before it answers
        child.post("worked", [item("a"), item("killer", do=death), item("b")])
    child.wait()


def fate(child: Child, name: str, event_id: str) -> tuple[object, ...]:
    """Outcome, attempts and error of the one event of this id."""
    [receipt] = receipts(child, name, event_id)
    return receipt["outcome"], receipt["attempts"], receipt.get("error")


def test_a_killer_is_dead_after_four_deaths(children: Children) -> None:
    """An event that kills the process is counted from its second death on and dead after its fourth. Its neighbours,
    and what another source had in hand, are called once more, alone, and processed with nothing counted."""
    child = children(
        source("worked", processor="processors:plain") + source("beside", processor="processors:other"),
    )
    child.start()
    with shut_gate(child):
        child.post("beside", [item("x", do="hang"), item("y")])
        eventually(lambda: calls(child))
        send_killer(child, "killed")
    assert start_until_calm(child, "worked", "beside") == 3
    assert fate(child, "worked", "killer") == ("dead", 3, ENDED)
    assert {fate(child, *each) for each in (("worked", "a"), ("worked", "b"), ("beside", "x"), ("beside", "y"))} == {
        ("processed", 0, None)
    }
    assert sorted(calls(child)[2:]) == [["a"], ["b"], ["killer"], ["killer"], ["killer"], ["x"], ["y"]]
    check_identity(child)


def test_one_attempt_means_two_deaths(children: Children) -> None:
    """With one attempt an event is dead after its second death; a requeue clears it, so that it takes two more."""
    child = children(source("worked", processor="processors:asynchronous", processor_attempts_max=1))
    child.start()
    send_killer(child, "segfault")
    assert start_until_calm(child, "worked") == 1
    assert fate(child, "worked", "killer") == ("dead", 1, ENDED)
    child.cli("requeue", "worked", "killer")  # the server may die before it answers
    child.wait()
    assert start_until_calm(child, "worked") == 1
    assert fate(child, "worked", "killer") == ("dead", 1, ENDED)
    assert {fate(child, "worked", each) for each in ("a", "b")} == {("processed", 0, None)}
    check_identity(child)


def test_ends_from_outside_count_nothing(children: Children) -> None:
    """Nobody is counted who was in hand once when the process was killed, or when a drain ended at its deadline or by
    a second signal; one that was in hand again is, and is processed all the same."""
    child = children("[limits]\ndrain_timeout_seconds = 1\n" + source("worked", processor="processors:plain"))

    def in_hand(times: int) -> None:
        eventually(lambda: len(calls(child)) == times)

    with shut_gate(child):
        child.start()
        child.post("worked", item("a", do="hang"))
        in_hand(1)
        assert child.stop() == 0
        child.start()
        in_hand(2)
        child.signal(signal.SIGTERM)
        eventually(lambda: len(child.lines_of("draining")) == 2)
        child.signal(signal.SIGTERM)
        assert child.wait() == 1
        assert not child.lines_of(SAID)
        for times in (3, 4):
            child.start()
            in_hand(times)
            child.kill()
        [said] = child.lines_of(SAID)
        assert (said["source"], said["events"], said["again"]) == ("worked", 1, 0)
    child.start()
    eventually(lambda: pending(child, "worked") == 0)
    assert fate(child, "worked", "a") == ("processed", 1, None)


AWAY = """
import processors


def away(events):
    processors.plain(events)
    raise ConnectionError
"""


def test_suspects_that_cannot_go_block_nobody(children: Children) -> None:
    """Suspects that hang, that meet an outage, or whose source was removed, is paused or has lost its processor hold up
    no other source. What waited goes on, alone, when it can."""
    beside = source("beside", processor="processors:other")
    gone = source("gone", processor="processors:plain")
    hangs = source("hangs", processor="processors:plain", processor_timeout_seconds=0.1)
    before = "".join(
        source(name, processor="processors:plain") for name in ("archive", "away", "gone", "hangs", "held")
    )
    after = beside + hangs + source("archive") + source("away", processor="away:away")
    held = source("held", processor="processors:plain", paused=True)
    child = children(beside + before)
    (child.directory / "away.py").write_text(AWAY)
    child.start()
    with shut_gate(child):
        for name in ("archive", "gone", "hangs", "held"):
            child.post(name, [item(f"{name}-1", do="hang"), item(f"{name}-2")])
        for name in ("away", "beside"):
            child.post(name, [item(f"{name}-1", do="hang", times=1), item(f"{name}-2")])
        eventually(lambda: len(calls(child)) == 6)
        child.kill()
        child.write(after + held)
        child.start()
        eventually(lambda: pending(child, "beside") == pending(child, "archive") == 0)
        assert {pending(child, name) for name in ("away", "gone", "hangs", "held")} == {2}
    child.write(after + gone + held.replace("true", "false"))
    child.reload()
    eventually(lambda: pending(child, "hangs") == pending(child, "gone") == pending(child, "held") == 0)
    assert {fate(child, name, f"{name}-{at}") for name in ("gone", "held") for at in (1, 2)} == {("processed", 0, None)}
    assert all(len(ids) == 1 for ids in calls(child)[6:])
    check_identity(child)


FAILS = """
import processors


def fails(events):
    return [ValueError() for _ in processors.plain(events)]
"""


def test_a_suspect_that_failed_is_retried_later(children: Children) -> None:
    """A turn is one call: whoever fails in it waits for the retry, and the rest of the source goes on."""
    child = children(source("worked", processor="fails:fails"), launch=("--waits", "3000"))
    (child.directory / "fails.py").write_text(FAILS)
    child.start()
    with shut_gate(child):
        child.post("worked", [item("a", do="hang", times=1), item("b")])
        eventually(lambda: calls(child))
        child.kill()
        child.start()
        child.post("worked", item("c"))
        eventually(lambda: ["c"] in calls(child))
    assert calls(child) == [["a", "b"], ["a"], ["b"], ["c"]]


def test_a_suspect_needs_no_second_token(children: Children) -> None:
    """What was deferred, released and in hand has its turn without a token, and then nothing is deferred any more."""
    limit = {"rate_limit_events_per_second": 0.0001, "rate_limit_burst_events": 2}
    child = children(source("worked", processor="processors:plain", **limit))
    child.start()
    child.post("worked", [item("a"), item("b"), item("c", do="hang", times=1)])
    eventually(lambda: pending(child, "worked") == 1)
    assert child.stop() == 0
    with shut_gate(child):
        child.start()
        eventually(lambda: calls(child) == [["a", "b"], ["c"]])
        child.kill()
        child.start()
        eventually(lambda: pending(child, "worked") == 0)
    assert child.post("worked", item("d")).json["deferred"] == 0
    eventually(lambda: calls(child) == [["a", "b"], ["c"], ["c"], ["d"]])
    check_identity(child)
