"""`same_body = "duplicate"` on the running server: a captured request that comes again under another id is none."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from server.intake.claims import Message
from server.intake.schemes import SCHEMES
from storage.check.verify import verify
from tests.support.clocks import Clocks
from tests.support.config import source
from tests.support.ledger import calls, check_identity, pending, receipts, shut_gate, statuses, totals
from tests.support.server import Child, Children
from tests.support.waiting import eventually

SECRET = b"s3cret"
GITHUB = SCHEMES["github"]
SIGNED = {"tokens": [], "signing_secrets": [SECRET.decode()], "signature": "github"}
BODY = b'{"action":"opened","id":5}'
QUICK = ("--waits", "0.01")


def config(**keys: object) -> str:
    return source("hooks", **{**SIGNED, "same_body": "duplicate", "processor": "processors:plain", **keys})


def send(child: Child, event_id: str, body: bytes = BODY, *, packed: bool = False) -> str:
    """Send a body as GitHub does, under this id of its delivery; return our delivery."""
    headers = GITHUB.sign(Message(body, GITHUB.key(SECRET), event_id, "made", 0))
    if packed:
        headers["Content-Encoding"] = "gzip"
    answer = child.request("POST", "/ingest/inbound/hooks", body, headers)
    assert answer.status == 200
    return str(answer.json["delivery"])


def settle(child: Child) -> None:
    eventually(lambda: pending(child, "hooks") == 0)


def sent(child: Child, event_id: str, body: bytes = BODY) -> str:
    """Send it, and wait until it has its outcome."""
    found = send(child, event_id, body)
    settle(child)
    return found


def receipt(child: Child, event_id: str) -> dict[str, Any]:
    [found] = receipts(child, "hooks", event_id)
    return found


def outcomes(child: Child, *event_ids: str) -> list[list[str]]:
    return [statuses(child, "hooks", event_id) for event_id in event_ids]


@pytest.mark.parametrize("processor", ["processors:plain", ""], ids=["processor", "archive"])
def test_a_body_under_another_id_is_a_duplicate(children: Children, processor: str) -> None:
    """It names the delivery that was processed; another body is not one, and the same id is one as ever."""
    child = children(config(processor=processor))
    child.start()
    first = sent(child, "1")
    sent(child, "2")
    sent(child, "3", BODY + b" ")
    sent(child, "1", BODY + b"  ")
    assert outcomes(child, "1", "2", "3") == [["processed", "duplicate"], ["duplicate"], ["processed"]]
    assert receipt(child, "2")["duplicate_of"] == first
    assert processor == "" or calls(child) == [["1"], ["3"]]
    sent(child, "2", BODY + b"   ")
    assert outcomes(child, "2") == [["duplicate", "processed"]], "the id of a duplicate was never processed"
    totals(child)
    check_identity(child)


@pytest.mark.parametrize("processor", ["processors:plain", ""], ids=["processor", "archive"])
def test_a_restart_remembers_processed_bodies(children: Children, processor: str) -> None:
    """After kill -9 the index is built anew, and a body that was processed is known."""
    child = children(config(processor=processor))
    child.start()
    first = sent(child, "1")
    child.kill()
    child.start()
    sent(child, "2")
    child.stop()
    child.start()
    sent(child, "3")
    assert outcomes(child, "1", "2", "3") == [["processed"], ["duplicate"], ["duplicate"]]
    assert {receipt(child, each)["duplicate_of"] for each in "23"} == {first}
    totals(child)


def test_the_second_body_in_flight_waits(children: Children) -> None:
    """Of two with one body the second is the first's duplicate once that is processed; its own id is free then."""
    child = children(config())
    child.start()
    body = json.dumps({"do": "hang"}).encode()
    with shut_gate(child):
        first = send(child, "1", body)
        eventually(lambda: calls(child))
        send(child, "2", body)
        send(child, "2", BODY)
        send(child, "3", BODY + b" ")
        assert pending(child, "hooks") == 4
    settle(child)
    assert outcomes(child, "1", "2", "3") == [["processed"], ["duplicate", "processed"], ["processed"]]
    assert receipts(child, "hooks", "2")[0]["duplicate_of"] == first
    assert sorted(each for ids in calls(child) for each in ids) == ["1", "2", "3"]
    check_identity(child)


def test_a_kill_forgets_no_body_in_flight(children: Children) -> None:
    """Two with one body that wait on disk when the process dies: one of them is processed."""
    child = children(config())
    child.start()
    body = json.dumps({"do": "hang"}).encode()
    with shut_gate(child):
        send(child, "1", body)
        eventually(lambda: calls(child))
        send(child, "2", body)
        child.kill()
    child.start()
    settle(child)
    assert outcomes(child, "1", "2") == [["processed"], ["duplicate"]]
    totals(child)


def test_a_body_has_its_turn_after_a_death(children: Children) -> None:
    """Only a processed event counts as seen: after a dead one the next of its body is processed, then none."""
    child = children(config(processor="processors:first_fails", processor_attempts_max=2), launch=QUICK)
    child.start()
    with shut_gate(child):
        send(child, "1")
        eventually(lambda: calls(child))
        send(child, "2")
        third = send(child, "3")
        assert pending(child, "hooks") == 3
    settle(child)
    assert outcomes(child, "1", "2", "3") == [["dead"], ["processed"], ["duplicate"]]
    assert receipt(child, "3")["delivery"] == third
    assert calls(child) == [["1"], ["1"], ["2"]]
    child.cli("requeue", "hooks", "1", check=True)
    settle(child)
    assert outcomes(child, "1") == [["duplicate"]], "its body was processed meanwhile"
    totals(child)
    check_identity(child)


def test_a_requeue_knows_bodies_from_before_the_window(children: Children, tmp_path: Path) -> None:
    """A dead event that is given back after the window is the duplicate of any that the store holds."""
    clocks = Clocks(tmp_path / "clocks")
    keys = config(processor="processors:first_fails", processor_attempts_max=1)
    child = children(keys, launch=[*QUICK, "--clocks", str(clocks.path)])
    child.start()
    for event_id in "12":
        sent(child, event_id)
    assert outcomes(child, "1", "2") == [["dead"], ["processed"]]
    clocks.pass_hours(100)
    child.kill()
    child.start()
    child.cli("requeue", "hooks", "1", check=True)
    settle(child)
    assert outcomes(child, "1") == [["duplicate"]]
    totals(child)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_body_is_known_for_its_window(children: Children, tmp_path: Path, restarts: bool) -> None:
    """Until the window after its outcome ends a body is a duplicate, and from the next minute on an event."""
    clocks = Clocks(tmp_path / "clocks")
    child = children(config(), launch=["--clocks", str(clocks.path)])
    child.start()
    sent(child, "1")
    for event_id, hours in (("2", 96 - 1 / 60), ("3", 2 / 60), ("4", 0)):
        clocks.pass_hours(hours)
        if restarts:
            child.kill()
            child.start()
        sent(child, event_id)
    assert outcomes(child, *"1234") == [["processed"], ["duplicate"], ["processed"], ["duplicate"]]
    check_identity(child)


@pytest.mark.parametrize("processor", ["processors:plain", ""], ids=["processor", "archive"])
def test_items_are_compared_place_by_place(children: Children, processor: str) -> None:
    """Of a compressed batch each item is the duplicate of the one at its place; equal items beside one another are
    none, and neither is the same text packed otherwise."""
    child = children(config(processor=processor, missing_event_id="generate"))
    child.start()
    text = json.dumps([{"same": True}] * 300).encode()
    packed = gzip.compress(text, 9, mtime=0)
    first = send(child, "1", packed, packed=True)
    settle(child)
    send(child, "2", packed, packed=True)
    child.kill()
    child.start()
    settle(child)
    assert outcomes(child, "1#0", "1#299", "2#0", "2#299") == [["processed"]] * 2 + [["duplicate"]] * 2
    assert receipt(child, "2#299")["duplicate_of"] == first
    send(child, "3", gzip.compress(text, 1, mtime=1), packed=True)
    settle(child)
    assert outcomes(child, "3#7") == [["processed"]]
    found = totals(child)["hooks"]
    assert (found["processed"], found["duplicate"]) == (600, 300)


def test_only_what_came_so_is_known(children: Children) -> None:
    """A source that allowed equal bodies knows none from that time, and keeps what it was told before."""
    child = children(config(same_body="allow"))
    child.start()
    sent(child, "1")
    child.write(config())
    child.reload()
    sent(child, "2")
    sent(child, "3")
    child.write(config(same_body="allow"))
    child.reload()
    sent(child, "4")
    child.write(config())
    child.reload()
    sent(child, "5")
    assert outcomes(child, *"12345") == [["processed"], ["processed"], ["duplicate"], ["processed"], ["duplicate"]]
    totals(child)


def test_sources_do_not_share_bodies(children: Children) -> None:
    """The same body at another source is an event of its own."""
    child = children(config() + config().replace("[sources.hooks]", "[sources.others]"))
    child.start()
    sent(child, "1")
    headers = GITHUB.sign(Message(BODY, GITHUB.key(SECRET), "2", "made", 0))
    assert child.request("POST", "/ingest/inbound/others", BODY, headers).status == 200
    eventually(lambda: pending(child, "others") == 0)
    assert statuses(child, "others", "2") == ["processed"]


def test_a_body_is_known_while_its_receipt_stays(children: Children, tmp_path: Path) -> None:
    """Retention takes the digests of bodies out with the receipts, and the store is whole before and after."""
    clocks = Clocks(tmp_path / "clocks")
    child = children(config(), launch=["--clocks", str(clocks.path), "--eager-retention"])
    child.start()
    for at in range(300):
        send(child, str(at), BODY + b" " * at)
    settle(child)
    totals(child)
    clocks.pass_hours(169)
    eventually(lambda: child.admin("/events/hooks/1").status == 404)
    totals(child)
    clocks.pass_hours(720)
    eventually(lambda: child.admin("/receipts/hooks/1").status == 404)
    sent(child, "again")
    assert outcomes(child, "again") == [["processed"]]
    totals(child)
    check_identity(child)


def test_a_backup_knows_the_bodies(children: Children, tmp_path: Path) -> None:
    """A store that was put in place of its backup still takes a body under another id for a duplicate."""
    child = children(config())
    child.start()
    sent(child, "1")
    copy = tmp_path / "copy"
    child.cli("backup", str(copy), check=True)
    assert verify(copy).ok
    child.stop()
    shutil.rmtree(child.store)
    copy.rename(child.store)
    child.start()
    sent(child, "2")
    assert outcomes(child, "1", "2") == [["processed"], ["duplicate"]]
