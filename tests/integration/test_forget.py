"""Forgotten events: nothing of what they held is in any file, their ids and outcomes stay, and nobody else loses."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest

from server.intake.events import rfc3339
from tests.support.client import item
from tests.support.clocks import WALL_MS, Clocks
from tests.support.config import source
from tests.support.ledger import calls, check_identity, pending, shut_gate, statuses, totals
from tests.support.readers import other_readers
from tests.support.server import Child, Children
from tests.support.traces import left_in, traces_of
from tests.support.waiting import eventually

JSON = {"Content-Type": "application/json"}
OTHERS = 300


def works(name: str = "works", **keys: object) -> str:
    return source(name, **({"processor": "processors:plain"} | keys))


def secret(seed: int, size: int = 40) -> str:
    """A text that does not compress, and is nowhere else."""
    return base64.b64encode(Random(seed).randbytes(size)).decode()


def said(child: Child, *arguments: str, code: int = 0) -> Any:
    """What a command prints as JSON."""
    done = child.cli(*arguments)
    assert done.returncode == code, done
    return json.loads(done.stdout)


def forget(child: Child, *arguments: str, code: int = 0) -> Any:
    return said(child, "forget", *arguments, "--yes", code=code)


def events(child: Child, name: str = "works") -> list[Any]:
    """All events of a source, as the command lists them."""
    return [json.loads(line) for line in child.cli("events", name, "--all", "--format", "ndjson").stdout.splitlines()]


def through(child: Child, name: str = "works") -> None:
    """Return when the source has nothing pending."""
    eventually(lambda: pending(child, name) == 0)


def others(child: Child, name: str = "works", first: int = 0) -> None:
    """Events of other people, before and behind."""
    for number in range(first, first + OTHERS):
        child.post(name, item(f"other-{number}", note=secret(10_000 + number)))


def test_forgotten_text_is_in_no_file(children: Children) -> None:
    """Payloads, headers, results, errors of each attempt, and refused requests: after the command no file of the store
    has any of it, nor any piece of what it was compressed to; the rest reads as before."""
    texts = [secret(seed) for seed in range(6)]
    with children(works(processor_attempts_max=2)) as child:
        others(child)
        child.post("works", item("a", value=texts[0]), headers={"x-person": texts[1]})
        child.post("works", item("a", value=secret(0, 3000)))
        child.post("works", item("b", do="result", value=texts[2]))
        child.post("works", item("c", do="say", value=texts[3]))
        child.post("works", [item("d", value=texts[4]), item("other", value="stays")])
        assert child.post("works", b'{"x":"%b"' % texts[5].encode()).status == 400
        others(child, first=OTHERS)
        eventually(lambda: child.cli("why", "works").stdout)
        said(child, "retry", "works")
        through(child)
        ids = ("a", "b", "c", "d")
        numbers = [each["number"] for each in events(child) if each["inbound_event_id"] in ids]
        assert len(numbers) == 5
        traces = traces_of(child.store, numbers)
        assert left_in(child.store, texts)
        before = said(child, "event", "works", "other")
        assert texts[3] in child.admin("/sources").body.decode()
        assert forget(child, "works", *ids) == {
            "forgotten": 4,
            "events": 5,
            "pending": [],
            "unknown": [],
            "overwritten": True,
        }
        assert left_in(child.store, texts, traces) == []
        assert texts[3] not in child.admin("/sources").body.decode()
        after = said(child, "event", "works", "other")
        assert after["payload"] == before["payload"]
        assert said(child, "event", "works", "other-7")["payload"]["note"] == secret(10_007)
        check_identity(child)
        assert said(child, "verify")["ok"] is True
        child.stop()
        assert left_in(child.store, texts, traces) == []
        assert said(child, "verify")["ok"] is True


def test_ids_and_outcomes_of_the_forgotten_stay(children: Children) -> None:
    """A receipt says when; the body is 404 `forgotten`; lists and exports have the event without its payload; it is
    still known to deduplication, and what was counted stays counted."""
    with children(works()) as child:
        child.post("works", [item("a", value="person"), item("b", value="other")], headers={"x-person": "person"})
        through(child)
        before = totals(child)
        forget(child, "works", "a")
        receipt = said(child, "receipt", "works", "a")
        assert (receipt["outcome"], receipt["archive"]) == ("processed", "forgotten")
        assert receipt["forgotten_at"] >= receipt["finished_at"]
        gone = child.admin("/events/works/a")
        assert (gone.status, gone.json["code"]) == (404, "forgotten")
        assert said(child, "event", "works", "a", code=1)["code"] == "forgotten"
        kept = said(child, "event", "works", "b")
        assert (kept["payload"], kept["headers"], kept["meta"]["remote_addr"]) == (item("b", value="other"), {}, "")
        items = said(child, "delivery", receipt["delivery"])["items"]
        assert [each.get("archive") for each in items] == ["forgotten", None]
        exported = [json.loads(line) for line in child.cli("export", "-", "--format", "ndjson").stdout.splitlines()]
        assert [each["payload"] for each in exported[:2]] == [None, item("b", value="other")]
        child.post("works", item("a", value="once more"))
        through(child)
        assert statuses(child, "works", "a") == ["processed", "duplicate"]
        assert totals(child)["works"]["processed"] == before["works"]["processed"]
        assert forget(child, "works", "a") == {
            "forgotten": 1,
            "events": 1,
            "pending": [],
            "unknown": [],
            "overwritten": True,
        }
        check_identity(child)
        assert said(child, "verify")["ok"] is True


def test_a_payload_tells_whom_to_forget(children: Children) -> None:
    """`--where` takes every event of the ids that it finds; a dry run counts them, and nothing is done unasked."""
    with children(works()) as child:
        child.post("works", [item(f"a{number}", userId="u-1" if number % 2 else "u-2") for number in range(6)])
        child.post("works", item("a1", userId="nobody"))
        through(child)
        where = ("works", "--where", "payload.userId=u-1")
        counted = {"dry_run": True, "ids": 3, "events": 4, "pending": 0, "unknown": []}
        assert said(child, "forget", *where, "--dry-run") == counted
        refused = child.cli("forget", *where)
        assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
        assert child.cli("forget", "works", "--where", "payload.userId=u-9", "--yes").returncode == 1
        assert child.cli("forget", "works", "a1", "--where", "payload.userId=u-1", "--yes").returncode == 2
        assert said(child, "event", "works", "a1")["payload"]["userId"] == "u-1"
        assert forget(child, *where)["events"] == 4
        assert [each["inbound_event_id"] for each in events(child) if "archive" not in each] == ["a4", "a2", "a0"]


def test_pending_events_are_forgotten_if_asked(children: Children) -> None:
    """It is left alone and named; with `--pending` it ends dead, of `forgotten`, whether it is with a processor that
    comes back, waits behind others, for a token, or in a source that is paused; nobody can give it back."""
    slow = works("slow", rate_limit_events_per_second=0.001, rate_limit_burst_events=1)
    with children("\n".join((works(), slow, works("still", paused=True)))) as child:
        with shut_gate(child):
            child.post("works", item("held", do="hang"))
            eventually(lambda: calls(child))
            child.post("works", [item("waits"), item("other")])
            child.post("slow", [item("first"), item("deferred")])
            child.post("still", item("paused"))
            eventually(lambda: pending(child, "slow") == 1)
            left = forget(child, "works", "waits", code=1)
            assert (left["forgotten"], left["pending"], left["events"]) == (0, ["waits"], 0)
            assert statuses(child, "works", "waits") == ["pending"]
            assert forget(child, "slow", "deferred", "--pending")["events"] == 1
            assert forget(child, "still", "paused", "--pending")["events"] == 1
        assert forget(child, "works", "held", "waits", "--pending")["events"] == 2
        through(child)
        dead = [said(child, "receipt", *each) for each in (("slow", "deferred"), ("still", "paused"))]
        assert [(each["outcome"], each["error"], each["archive"]) for each in dead] == [
            ("dead", "forgotten", "forgotten")
        ] * 2
        assert said(child, "requeue", "slow", "deferred", code=1)["unknown"] == ["deferred"]
        assert child.admin("/dead").body == b""
        assert statuses(child, "works", "other") == ["processed"]
        assert pending(child, "slow") == pending(child, "still") == 0
        check_identity(child)
        assert said(child, "verify")["ok"] is True


def test_a_call_in_hand_holds_up_nobody_else(children: Children) -> None:
    """While a pending event that is to be forgotten is with its processor, other sources' events are replayed."""
    with children("\n".join((works(), works("others")))) as child:
        child.post("others", item("a"))
        through(child, "others")
        with ThreadPoolExecutor(1) as pool:
            with shut_gate(child):
                child.post("works", item("held", do="hang"))
                eventually(lambda: ["held"] in calls(child))
                command = json.dumps({"source": "works", "event_ids": ["held"], "pending": True}).encode()
                done = pool.submit(child.admin, "/forget", method="POST", body=command, headers=JSON)
                assert said(child, "replay", "others")["replayed"] == 1
            assert done.result().json["events"] == 1
        assert said(child, "receipt", "works", "held")["archive"] == "forgotten"


def test_replays_are_forgotten_with_their_originals(children: Children) -> None:
    """Whichever source they were given to; an event of that source that has the same id by chance stays."""
    text = secret(1)
    with children("\n".join((works(), works("copies")))) as child:
        child.post("copies", item("a", value="by chance"))
        child.post("works", item("a", value=text))
        through(child)
        said(child, "replay", "works", "--to", "copies", "--where", f"payload.value={text}")
        said(child, "replay", "works")
        through(child)
        through(child, "copies")
        traces = traces_of(child.store, [2, 3, 4])
        assert forget(child, "works", "a")["events"] == 3
        assert left_in(child.store, [text], traces) == []
        assert said(child, "event", "copies", "a")["payload"]["value"] == "by chance"
        assert said(child, "replay", "works", "--dry-run") == {"dry_run": True, "events": 0, "gone": 1}
        assert said(child, "verify")["ok"] is True


def test_a_stopped_store_forgets_too(children: Children) -> None:
    """Directly, with the same result; what another reader of the store sees is waited for."""
    text = secret(2)
    child = children(works())
    with child:
        others(child)
        child.post("works", item("a", value=text))
        through(child)
        number = events(child)[0]["number"]
        child.stop()
    traces = traces_of(child.store, [number])
    assert forget(child, "works", "a", "unknown", code=1) == {
        "forgotten": 1,
        "events": 1,
        "pending": [],
        "unknown": ["unknown"],
        "overwritten": True,
    }
    assert left_in(child.store, [text], traces) == []
    assert said(child, "verify")["ok"] is True
    with child:
        assert said(child, "receipt", "works", "a")["archive"] == "forgotten"


def test_a_kill_keeps_nothing_from_being_overwritten(children: Children) -> None:
    """While another process reads the store its pages are not touched, and the answer says so; a server that is killed
    then goes on with it at its next start."""
    text = secret(3)
    child = children(works())
    with child:
        others(child)
        child.post("works", item("a", value=text))
        through(child)
        traces = traces_of(child.store, [events(child)[0]["number"]])
        with other_readers(child.store, 1):
            body = json.dumps({"source": "works", "event_ids": ["a"], "wait": False}).encode()
            done = child.admin("/forget", method="POST", body=body, headers=JSON).json
            assert (done["forgotten"], done["overwritten"]) == (1, False)
            assert left_in(child.store, [text], traces)
            child.kill_now()
    with child:
        child.wait_for_line("what was forgotten is overwritten")
        assert left_in(child.store, [text], traces) == []
        assert said(child, "receipt", "works", "a")["archive"] == "forgotten"
        assert said(child, "verify")["ok"] is True


def test_what_is_owed_is_told(children: Children, tmp_path: Path) -> None:
    """While another process keeps it from being overwritten, verify says since when, as no mistake, and readiness warns
    after a minute, over a restart too; once it is overwritten neither says anything."""
    clocks = Clocks(tmp_path / "clocks")
    child = children(works(), launch=["--clocks", str(clocks.path)])
    with child:
        child.post("works", item("a", value="person"))
        through(child)
        assert said(child, "verify")["erasure_since"] is None
        with other_readers(child.store, 1):
            body = json.dumps({"source": "works", "event_ids": ["a"], "wait": False}).encode()
            assert child.admin("/forget", method="POST", body=body, headers=JSON).json["overwritten"] is False
            done = child.cli("verify")
            since = json.loads(done.stdout)["erasure_since"]
            assert (done.returncode, since) == (0, rfc3339(WALL_MS))
            assert f"what was forgotten at {since} is not overwritten" in done.stderr
            assert warning(child) is None
            clocks.pass_hours(1 / 60 + 0.001)
            eventually(lambda: "end its scan or its backup" in (warning(child) or ""))
            assert since in str(warning(child))
            child.kill()
            child.start()
            assert since in str(warning(child))
        child.wait_for_line("what was forgotten is overwritten")
        assert warning(child) is None
        done = child.cli("verify")
        assert (json.loads(done.stdout)["erasure_since"], done.stderr) == (None, "")


def warning(child: Child) -> str | None:
    """What readiness says of what is not overwritten."""
    found = child.admin("/readyz").json["warnings"]
    return next((each["message"] for each in found if each["warning"] == "erasing"), None)


def test_a_command_sent_again_overwrites(children: Children) -> None:
    """What was forgotten before and is not overwritten yet is, by a command for a stopped store that finds no more to
    forget: it does not say so without having done it."""
    text = secret(4)
    child = children(works())
    with child:
        others(child)
        child.post("works", item("a", value=text))
        through(child)
        traces = traces_of(child.store, [events(child)[0]["number"]])
        with other_readers(child.store, 1):
            body = json.dumps({"source": "works", "event_ids": ["a"], "wait": False}).encode()
            assert child.admin("/forget", method="POST", body=body, headers=JSON).json["overwritten"] is False
            child.kill()
    assert left_in(child.store, [text], traces)
    again = forget(child, "works", "a")
    assert (again["forgotten"], again["events"], again["overwritten"]) == (1, 0, True)
    assert left_in(child.store, [text], traces) == []


def test_what_is_forgotten_before_1970_is_gone(children: Children, tmp_path: Path) -> None:
    """A wall clock from before 1970, which says 0, does not make an event one that was not forgotten."""
    clocks, text = Clocks(tmp_path / "clocks"), secret(1)
    clocks.set_wall(-1)
    with children(works(), launch=["--clocks", str(clocks.path)]) as child:
        child.post("works", item("a", note=text))
        through(child)
        assert forget(child, "works", "a")["events"] == 1
        (event,) = events(child)
        assert event["forgotten_at"] == "1970-01-01T00:00:00.001Z"
        (event,) = [json.loads(line) for line in child.cli("events", "works", "--payload").stdout.splitlines()]
        assert event["payload"] is None
        assert child.stop() == 0
        assert left_in(child.store, [text]) == []


@pytest.mark.parametrize("name", ["data.mdb.format-1", "journal.format-1"])
def test_an_old_store_keeps_from_forgetting(children: Children, name: str) -> None:
    """It would still have everything: the refusal names the way out."""
    with children(works()) as child:
        child.post("works", item("a"))
        through(child)
        (child.store / name).touch()
        refused = child.cli("forget", "works", "a", "--yes")
        assert (refused.returncode, "--discard-old" in refused.stderr) == (1, True)
        body = json.dumps({"source": "works", "event_ids": ["a"]}).encode()
        assert child.admin("/forget", method="POST", body=body, headers=JSON).json["code"] == "storage_failed"


@pytest.mark.parametrize(
    "body",
    [
        b'{"source":"works"}',
        b'{"source":"works","event_ids":"a"}',
        b'{"source":"works","event_ids":[1]}',
        b'{"source":"works","event_ids":["a"],"pending":1}',
        b'{"source":"works","event_ids":["a"],"all":true}',
    ],
)
def test_an_unclear_command_forgets_nothing(children: Children, body: bytes) -> None:
    """It is a 400 that says what to send."""
    with children(works()) as child:
        answer = child.admin("/forget", method="POST", body=body, headers=JSON)
        assert (answer.status, answer.json["code"]) == (400, "invalid_request")


def test_a_discarded_event_has_no_body(children: Children) -> None:
    """Its receipt is there, its body cannot be had, in no way."""
    with children(works(processor_attempts_max=1)) as child:
        child.post("works", item("a", do="fail"))
        eventually(lambda: child.metrics()['tidegate_events_dead{source="works"}'] == 1)
        said(child, "discard", "works", "a")
        gone = child.admin("/events/works/a")
        assert (gone.status, gone.json["code"]) == (404, "not_found")
        assert "was discarded: its body cannot be looked up" in gone.json["message"]
        assert events(child)[0]["outcome"] == "dead"
        listed = child.admin("/events?source=works&payload=true").json["events"]
        assert listed[0]["payload"] is None
        assert said(child, "replay", "works", "--outcome", "discarded", "--dry-run")["events"] == 0


def test_many_forget_at_once(children: Children) -> None:
    """Commands of many clients go one after the other, beside the overwriting of those before: each is done as a whole,
    and what the last of them waits for is everything."""
    clients, each = 6, 5
    with children(works()) as child:
        texts = [secret(seed, 2000) for seed in range(clients * each)]
        for number, text in enumerate(texts):
            child.post("works", item(f"a{number}", do="result", value=text))
            child.post("works", item(f"other-{number}", note=secret(10_000 + number)))
        through(child)
        traces = traces_of(child.store, [2 * at + 1 for at in range(len(texts))])

        def forget_some(client: int) -> None:
            for at in range(each):
                command = {"source": "works", "event_ids": [f"a{client * each + at}"], "wait": at + 1 == each}
                done = child.admin("/forget", method="POST", body=json.dumps(command).encode(), headers=JSON).json
                assert done["forgotten"] == 1, done

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(forget_some, range(clients)))
        assert forget(child, "works", "a0") == {
            "forgotten": 1,
            "events": 0,
            "pending": [],
            "unknown": [],
            "overwritten": True,
        }
        assert left_in(child.store, texts, traces) == []
        gone = [found["inbound_event_id"] for found in events(child) if found.get("archive") == "forgotten"]
        assert len(gone) == len(texts)
        assert said(child, "event", "works", "other-3")["payload"]["note"] == secret(10_003)
        assert said(child, "verify")["ok"] is True
