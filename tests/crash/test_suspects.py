"""Events that kill the process: after a few starts one is dead, and whoever was in hand beside it has its outcome."""

import json
import signal
from collections.abc import Mapping, Sequence

from server.flow.suspects import find_suspects
from storage.in_hand.in_hand import Whose, recall
from storage.model import Append, Group
from storage.statuses import EventStatus
from storage.store_time import read_boot_id
from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import calls, check_identity, pending, receipts, shut_gate
from tests.support.server import Child, Children
from tests.support.store import delivery, opened
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


def in_hand_at_deaths(
    child: Child, deaths: int = 1, *, deferred: bool = False, **items: Sequence[Mapping[str, object]]
) -> None:
    """Make the store of a server that died so often with the same events in hand: those of each source, as one delivery
    with the ids `SOURCE-1`, `SOURCE-2` …"""
    with opened(child.store) as (store, writer):
        for name, bodies in items.items():
            ids = [f"{name}-{at}" for at in range(1, len(bodies) + 1)]
            body = json.dumps(list(bodies) if len(bodies) > 1 else bodies[0]).encode()
            numbered = delivery(writer.next_number, ids, source_id=name, body=body)
            writer.write(Group([Append(numbered, 0 if deferred else len(ids), EventStatus.DEFERRED)]))
        for _ in range(deaths):
            with find_suspects(store).hand().holding(range(1, writer.next_number)):
                left = (child.store / "in-hand").read_bytes()
            (child.store / "in-hand").write_bytes(left)


def fate(child: Child, name: str, event_id: str) -> tuple[object, ...]:
    """Outcome, attempts and error of the one event of this id."""
    [receipt] = receipts(child, name, event_id)
    return receipt.get("outcome"), receipt.get("attempts"), receipt.get("error")


def test_a_killer_is_dead_after_four_deaths(children: Children) -> None:
    """An event that ends the process, each time in another way, is counted from its second death on and dead after its
    fourth. Its neighbours, and what another source had in hand, are called once more, alone, with nothing counted."""
    child = children(
        source("worked", processor="processors:plain") + source("beside", processor="processors:asynchronous")
    )
    in_hand_at_deaths(child, worked=[{}, {"do": "die"}, {}], beside=[{}, {}])
    assert start_until_calm(child, "worked", "beside") == 3
    assert fate(child, "worked", "worked-2") == ("dead", 3, ENDED)
    others = {("worked", 1), ("worked", 3), ("beside", 1), ("beside", 2)}
    assert {fate(child, name, f"{name}-{at}") for name, at in others} == {("processed", 0, None)}
    assert sorted(calls(child)) == sorted([[f"{name}-{at}"] for name, at in others] + 3 * [["worked-2"]])
    check_identity(child)


def test_the_second_death_is_the_first_attempt(children: Children) -> None:
    """With one attempt an event is dead after its second death, with more it has its turn; neither is a suspect then,
    so that a requeue begins anew."""
    child = children(
        source("worked", processor="processors:plain", processor_attempts_max=1)
        + source("beside", processor="processors:plain")
    )
    in_hand_at_deaths(child, 2, worked=[{}], beside=[{}])
    child.start()
    [worked, beside] = sorted(child.lines_of(SAID), key=lambda line: str(line["source"]), reverse=True)
    assert (worked["events"], worked["again"]) == (beside["events"], beside["again"]) == (1, 1)
    eventually(lambda: pending(child, "worked") == pending(child, "beside") == 0)
    assert fate(child, "worked", "worked-1") == ("dead", 1, ENDED)
    assert fate(child, "beside", "beside-1") == ("processed", 1, None)
    assert child.cli("requeue", "worked", "worked-1").returncode == 0
    eventually(lambda: fate(child, "worked", "worked-1") == ("processed", 0, None))
    check_identity(child)
    child.kill()
    with opened(child.store) as (store, _):
        assert recall(child.store, Whose(read_boot_id(), store.identity)) == {}


def test_ends_from_outside_count_nothing(children: Children) -> None:
    """Nobody is counted who was in hand when a drain ended at its deadline or by a second signal, or once when the
    process was killed."""
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
        child.signal(signal.SIGINT)  # another one than the first, which would be that again
        assert child.wait() == 1
        assert not child.lines_of(SAID)
        child.start()
        in_hand(3)
        child.kill()
    child.start()
    [said] = child.lines_of(SAID)
    assert (said["source"], said["events"], said["again"]) == ("worked", 1, 0)
    eventually(lambda: pending(child, "worked") == 0)
    assert fate(child, "worked", "a") == ("processed", 0, None)


AWAY = """
import processors


def away(events):
    processors.plain(events)
    raise ConnectionError


def fails(events):
    return [ValueError() for _ in processors.plain(events)]
"""


def test_suspects_that_cannot_go_block_nobody(children: Children) -> None:
    """Suspects that hang, that meet an outage, or whose source was removed, is paused or has no processor hold up no
    other source. What waited goes on, alone, when it can."""
    gone = source("gone", processor="processors:plain")
    held = source("held", processor="processors:plain", paused=True)
    others = (
        source("archive")
        + source("away", processor="away:away")
        + source("beside", processor="processors:other")
        + source("hangs", processor="processors:plain", processor_timeout_seconds=0.1)
    )
    child = children(others + held)
    (child.directory / "away.py").write_text(AWAY)
    both: list[dict[str, object]] = [{}, {}]
    in_hand_at_deaths(child, archive=both, away=both, beside=both, gone=both, hangs=[{"do": "hang"}, {}], held=both)
    with shut_gate(child):
        child.start()
        eventually(lambda: pending(child, "beside") == pending(child, "archive") == 0)
        assert {pending(child, name) for name in ("away", "gone", "hangs", "held")} == {2}
    child.write(others + gone + held.replace("true", "false"))
    child.reload()
    eventually(lambda: pending(child, "hangs") == pending(child, "gone") == pending(child, "held") == 0)
    assert {fate(child, name, f"{name}-{at}") for name in ("gone", "held") for at in (1, 2)} == {("processed", 0, None)}
    assert all(len(ids) == 1 for ids in calls(child))
    check_identity(child)


def test_late_suspects_hold_up_nobody(children: Children) -> None:
    """An async processor that outruns its timeout ends the turns of its source too: others wait for one timeout,
    however many suspects there are."""
    slow = source("slow", processor="processors:pausing", processor_timeout_seconds=0.1)
    child = children(slow + source("other", processor="processors:plain"), launch=("--waits", "3000"))
    in_hand_at_deaths(child, slow=[{}] * 300)
    in_hand_at_deaths(child, 0, other=[{}])
    child.start()
    eventually(lambda: ["other-1"] in calls(child))
    assert len(calls(child)) < 300


def test_a_suspect_that_failed_is_retried_later(children: Children) -> None:
    """A turn is one call: whoever fails in it waits for the retry, and the rest of the source goes on."""
    child = children(source("worked", processor="away:fails"), launch=("--waits", "3000"))
    (child.directory / "away.py").write_text(AWAY)
    in_hand_at_deaths(child, worked=[{}, {}])
    child.start()
    child.post("worked", item("c"))
    eventually(lambda: ["c"] in calls(child))
    assert calls(child) == [["worked-1"], ["worked-2"], ["c"]]


def test_a_pause_repeats_no_turns(children: Children) -> None:
    """A suspect that failed in its turn waits for its retry, also where its source is paused before the others had
    theirs."""
    child = children(source("worked", processor="processors:plain"), launch=("--waits", "3000"))
    in_hand_at_deaths(child, worked=[{"do": "fail"}, {"do": "hang"}, {}])
    with shut_gate(child):
        child.start()
        eventually(lambda: len(calls(child)) == 2)
        child.write(source("worked", processor="processors:plain", paused=True))
        child.reload()
    eventually(lambda: pending(child, "worked") == 2)
    child.write(source("worked", processor="processors:plain"))
    child.reload()
    eventually(lambda: pending(child, "worked") == 1)
    assert calls(child) == [["worked-1"], ["worked-2"], ["worked-3"]]


def test_a_suspect_needs_no_second_token(children: Children) -> None:
    """What was deferred, released and in hand has its turn without a token, and then nothing is deferred any more."""
    limit = {"rate_limit_events_per_second": 0.0001, "rate_limit_burst_events": 1}
    child = children(source("worked", processor="processors:plain", **limit))
    in_hand_at_deaths(child, deferred=True, worked=[{}, {}])
    child.start()
    eventually(lambda: pending(child, "worked") == 0)
    assert child.post("worked", item("c")).json["deferred"] == 0
    eventually(lambda: calls(child) == [["worked-1"], ["worked-2"], ["c"]])
    check_identity(child)
