"""Archived events given to a processor anew: by filters, to another source, beside dedup, over kills; all counted."""

import json
from typing import Any

import pytest

from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import calls, check_identity, pending, totals
from tests.support.server import Child, Children
from tests.support.waiting import eventually

JSON = {"Content-Type": "application/json"}


def works(name: str = "works", **keys: object) -> str:
    return source(name, **({"processor": "processors:plain"} | keys))


def through(child: Child, name: str = "works") -> None:
    """Return when the source has nothing pending."""
    eventually(lambda: pending(child, name) == 0)


def replay(child: Child, *arguments: str, code: int = 0) -> Any:
    done = child.cli("replay", *arguments)
    assert done.returncode == code, done
    return json.loads(done.stdout)


def replays(child: Child) -> Any:
    return child.admin("/replay").json["replays"]


def ids(child: Child) -> list[str]:
    """Every event that the processor was given, in order."""
    return [each for call in calls(child) for each in call]


def test_processed_events_are_given_again(children: Children) -> None:
    """Those that match, as they came: new events that say whose they are, beside dedup; counted, and verified."""
    with children(works()) as child:
        child.post("works", [item("a", kind=1), item("b", kind=2), item("c", kind=1)])
        child.post("works", item("a", kind=1))
        through(child)
        assert replay(child, "works", "--where", "payload.kind=1", "--dry-run") == {
            "dry_run": True,
            "events": 2,
            "gone": 0,
        }
        done = replay(child, "works", "--where", "payload.kind=1")
        assert (done["state"], done["replayed"], done["gone"], done["to"]) == ("done", 2, 0, "works")
        assert done["where"] == ["payload.kind"]
        assert replay(child, "--list") == done == replays(child)[0]
        through(child)
        assert ids(child) == ["a", "b", "c", "a", "c"]
        receipts = child.admin("/receipts/works/a?all=true").json
        assert [each["outcome"] for each in receipts] == ["processed", "duplicate", "processed"]
        assert [each.get("replay_of") for each in receipts] == [1, None, None]
        table = child.cli("receipt", "works", "a", "--all", "--format", "table", check=True).stdout.splitlines()
        assert (table[1].endswith("  replay of 1"), table[3].endswith("0")) == (True, True)
        assert child.admin("/receipts/works/a").json == receipts[2]
        event = child.admin(f"/events?source=works&after={4}&payload=true").json["events"][-1]
        assert (event["inbound_event_id"], event["replay_of"]) == ("a", 1)
        assert event["payload"] == item("a", kind=1)
        counts = totals(child)["works"]
        assert (counts["received"], counts["replayed"], counts["processed"], counts["duplicate"]) == (4, 2, 5, 1)
        check_identity(child)
        child.post("works", item("a"))
        through(child)
        assert child.admin("/receipts/works/a?all=true").json[0]["outcome"] == "duplicate"


def test_events_go_to_another_source(children: Children) -> None:
    """By id, type and outcome, at most so many; its processor gets them, and its counts have them."""
    with children(
        works("fails", processor="processors:always_fails", processor_attempts_max=1) + works("new")
    ) as child:
        child.post("fails", [{"inbound_event_id": each, "event_type": f"type-{each}"} for each in "abc"])
        through(child, "fails")
        assert replay(child, "fails", "--to", "new")["replayed"] == 0
        assert replay(child, "fails", "--to", "new", "--outcome", "dead", "--type", "type-b")["replayed"] == 1
        assert replay(child, "fails", "--to", "new", "--outcome", "dead", "--limit", "2")["replayed"] == 2
        through(child, "new")
        assert ids(child) == ["b", "a", "b"]
        counts = totals(child)
        assert (counts["new"]["replayed"], counts["new"]["received"], counts["fails"]["replayed"]) == (3, 0, 0)
        assert child.admin("/receipts/new/b").json["replay_of"] == 2
        check_identity(child)


def test_a_replay_goes_on_after_a_kill(children: Children) -> None:
    """Whenever the process is killed, each event is replayed once; the replays are on record, and can be stopped."""
    count = 1500
    child = children(works(processor="processors:silent", processor_batch_events_max=100) + works("other"))
    child.start()
    for at in range(0, count, 250):
        child.post("works", [item(f"id-{at + each}") for each in range(250)])
    through(child)
    begun = replay(child, "works", "--detach")
    assert begun["state"] == "running"
    for step in range(3):
        eventually(lambda step=step: replays(child)[0]["replayed"] >= 500 * step)  # type: ignore[misc]  # its default
        child.kill()
        child.start()
    eventually(lambda: replays(child)[0]["state"] == "done")
    through(child)
    counts = totals(child)["works"]
    assert (counts["received"], counts["replayed"], counts["processed"]) == (count, count, 2 * count)
    seen = child.admin(f"/events?source=works&after={count}&limit=500").json["events"]
    assert len({each["replay_of"] for each in seen}) == 500
    assert replay(child, "--stop", begun["replay"])["state"] == "done"
    check_identity(child)
    child.kill()


def test_a_paused_source_takes_no_replay(children: Children) -> None:
    """It waits, over a restart, until the source goes on; one that was stopped adds nothing."""
    child = children(works() + works("still", paused=True))
    child.start()
    child.post("works", [item("a"), item("b")])
    through(child)
    first = replay(child, "works", "--to", "still", "--detach")
    second = replay(child, "works", "--to", "still", "--detach")
    assert replay(child, "--stop", first["replay"])["state"] == "stopped"
    child.kill()
    child.start()
    assert [(each["replay"], each["state"]) for each in replays(child)] == [
        (first["replay"], "stopped"),
        (second["replay"], "running"),
    ]
    child.write(works() + works("still"))
    child.reload()
    eventually(lambda: replays(child)[1]["state"] == "done")
    through(child, "still")
    assert totals(child)["still"]["replayed"] == 2
    child.kill()


def test_a_part_of_a_batch_is_replayed_alone(children: Children) -> None:
    """Of a batch, Segment's too, the events that match come with what the batch gave them, and with no other's body."""
    with children(works("hooks") + works("site", type="segment")) as child:
        child.post("hooks", [item("a", big="x" * 5000), item("b", n=1)])
        child.post(
            "site",
            {
                "batch": [{"type": "track", "messageId": "m", "event": "E"}, {"type": "page", "messageId": "n"}],
                "context": {"ip": "1.2.3.4"},
            },
        )
        through(child, "hooks")
        through(child, "site")
        assert replay(child, "hooks", "--event-id", "b")["replayed"] == 1
        assert replay(child, "site", "--type", "page")["replayed"] == 1
        through(child, "hooks")
        through(child, "site")
        for source_id, event_id in (("hooks", "b"), ("site", "n")):
            was = child.admin(f"/events/{source_id}/{event_id}").json
            [found] = [
                each
                for each in child.admin(f"/events?source={source_id}&payload=true").json["events"]
                if "replay_of" in each
            ]
            assert found["payload"] == was["payload"]
            delivery = child.admin(f"/deliveries/{found['delivery']}").json
            assert (delivery["batch_size"], len(delivery["items"])) == (1, 1)
        assert totals(child)["site"]["replayed"] == 1


def test_unclear_replays_are_refused(children: Children) -> None:
    """A replay that could mean more than was meant is not begun."""
    with children(works() + source("archive")) as child:
        for arguments in ((), ("works", "--list")):
            assert child.cli("replay", *arguments).returncode == 2
        for body, status, code in (
            ({"source": "nobody"}, 404, "not_found"),
            ({"source": "works", "to": "nobody"}, 404, "not_found"),
            ({"source": "works", "to": "archive"}, 400, "invalid_request"),
            ({"source": "works", "to": "archive", "dry_run": True}, 400, "invalid_request"),
            ({"source": "works", "outcome": "pending"}, 400, "invalid_request"),
            ({"source": "works", "limit": 0}, 400, "invalid_request"),
            ({"source": "works", "where": "a=b"}, 400, "invalid_request"),
            ({"source": "works", "sense": "x"}, 400, "invalid_request"),
            ({"stop": "nobody"}, 404, "not_found"),
            ([], 400, "invalid_request"),
        ):
            found = child.admin("/replay", method="POST", body=json.dumps(body).encode(), headers=JSON)
            assert (found.status, found.json["code"]) == (status, code), body
        dry = json.dumps({"source": "works", "dry_run": True}).encode()
        assert child.admin("/replay", method="POST", body=dry, headers=JSON).json["events"] == 0
        assert replays(child) == []
        assert child.stop() == 0
        done = child.cli("replay", "works")
        assert (done.returncode, "another process" in done.stderr) == (1, False)
        assert "the running server replays, and it cannot be asked: nobody listens" in done.stderr
        assert replay(child, "works", "--dry-run")["events"] == 0


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)], ids=["done", "counted"])
def test_a_dry_run_is_refused_alike(children: Children, dry_run: tuple[str, ...]) -> None:
    """What cannot be replayed cannot be counted either, with the same exit code: 1 if there is no such source, 2 if the
    arguments cannot be used, or the source has no processor."""
    child = children(works() + source("archive"))
    with child:
        child.post("archive", item("a"))
        for arguments, code, words in (
            (("nobody",), 1, "has a source 'nobody'"),
            (("nobody", "--to", "works"), 1, "has a source 'nobody'"),
            (("works", "--to", "nobody"), 1, "has a source 'nobody'"),
            (("archive",), 2, "'archive' has no processor"),
            (("works", "--to", "archive"), 2, "'archive' has no processor"),
            (("works", "--outcome", "pending"), 2, "outcome"),
            (("works", "--since", "soon"), 2, "neither a time"),
        ):
            refused = child.cli("replay", *arguments, *dry_run)
            assert (refused.returncode, words in refused.stderr) == (code, True), refused
        child.write(works())
        child.reload()
        refused = child.cli("replay", "archive", *dry_run)
        assert (refused.returncode, refused.stderr.count("source")) == (1, 1), refused
        assert replays(child) == []
