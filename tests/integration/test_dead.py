"""Dead events, and those that wait after a failure: listed, counted, given back, discarded, tried now."""

import json
from typing import Any

from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import check_identity, pending, statuses, totals
from tests.support.on_terminal import STYLE, OnTerminal
from tests.support.server import Child, Children
from tests.support.waiting import eventually

JSON = {"Content-Type": "application/json"}


def died(child: Child, count: int, name: str = "fails") -> None:
    """Return when so many events of the source are dead now."""
    eventually(lambda: child.metrics()[f'tidegate_events_dead{{source="{name}"}}'] == count)


def fails(**keys: object) -> str:
    return source("fails", processor="processors:always_fails", processor_attempts_max=1, **keys)


def said(child: Child, *arguments: str, code: int = 0) -> Any:
    """What a command prints as JSON."""
    done = child.cli(*arguments)
    assert done.returncode == code, done
    return json.loads(done.stdout)


def receipt(child: Child, event_id: str, name: str = "fails") -> Any:
    return child.admin(f"/receipts/{name}/{event_id}").json


def test_some_of_the_dead_are_given_back(children: Children) -> None:
    """By time, by a text in the error and by number, the first that came; nothing is lost, and the receipt keeps what
    happened."""
    with children(fails()) as child:
        child.post("fails", [item(each) for each in "abc"])
        died(child, 3)
        assert said(child, "requeue", "fails", "--error", "KeyError") == {"requeued": 0, "unknown": []}
        assert said(child, "requeue", "fails", "--since", "2100-01-01") == {"requeued": 0, "unknown": []}
        assert said(child, "requeue", "fails", "--error", "always", "--since", "1h", "--limit", "2") == {
            "requeued": 2,
            "unknown": [],
        }
        eventually(lambda: totals(child)["fails"]["dead"] == 5)
        died(child, 3)
        before, after = receipt(child, "c"), receipt(child, "a")
        assert "history" not in before
        assert [turn["change"] for turn in after["history"]] == ["died", "requeued", "died"]
        assert after["history"][0]["error"] == after["error"] == "ValueError: it always does"
        assert after["history"][0]["at"] <= after["history"][1]["at"] <= after["history"][2]["at"]
        assert said(child, "receipt", "fails", "a") == after
        lines = child.cli("receipt", "fails", "a", "--format", "table", check=True).stdout.splitlines()
        assert not any(line.startswith("history") for line in lines)
        assert [line.split() for line in lines[-5:-3]] == [[], ["WHEN", "WHAT", "ATTEMPTS", "ERROR"]]
        rows = [line.split(maxsplit=3) for line in lines[-3:]]
        died_of = ["1", "ValueError: it always does"]
        assert [row[1:] for row in rows] == [["died", *died_of], ["requeued"], ["died", *died_of]]
        assert [row[0] for row in rows] == [turn["at"] for turn in after["history"]]
        check_identity(child)
        assert said(child, "verify")["ok"] is True


def test_the_dead_are_counted_by_kind(children: Children) -> None:
    """By source and kind of error, for the admin side and the command alike; `/dead` itself stays a line each."""
    with children(fails() + source("hooks")) as child:
        child.post("fails", [item("a"), item("b")])
        died(child, 2)
        [kind] = child.admin("/dead?group=kind").json["kinds"]
        assert (kind["source_config_id"], kind["kind"], kind["events"]) == ("fails", "ValueError", 2)
        assert kind["first_died_at"] <= kind["last_died_at"]
        assert said(child, "dead", "--group", "kind") == kind
        assert child.admin("/dead?group=kind&source=hooks").json == {"kinds": []}
        assert child.admin("/dead?group=day").json["code"] == "invalid_request"
        assert len(child.admin("/dead").body.splitlines()) == 2


def test_dead_events_come_page_by_page(children: Children) -> None:
    """With a number or a limit a page is given, and the header says where to go on, until there is nothing more: each
    event is there once, in the order they came; without them all come at once, without the header."""
    with children(fails() + fails().replace("[sources.fails]", "[sources.other]")) as child:
        child.post("fails", [item(each) for each in "abcde"])
        child.post("other", item("f"))
        died(child, 5)
        died(child, 1, "other")
        every = child.admin("/dead")
        assert (len(every.body.splitlines()), "tidegate-next" in every.headers) == (6, False)
        found, following, sizes = b"", "after=0", []
        while following:
            page = child.admin(f"/dead?limit=2&source=fails&{following}")
            assert page.headers["content-type"] == "application/x-ndjson"
            found, following = found + page.body, page.headers.get("tidegate-next", "")
            sizes.append(len(page.body.splitlines()))
        assert (found, sizes) == (child.admin("/dead?source=fails").body, [2, 2, 1])
        assert child.admin("/dead?after=0").body == child.admin("/dead?limit=6").body == every.body
        assert "tidegate-next" not in child.admin("/dead?limit=6").headers
        assert child.admin("/dead?after=1000").body == b""


def test_a_discarded_event_stays_dead(children: Children) -> None:
    """It is counted, not listed, and cannot be given back; its receipt says when, also on a stopped store; it is
    verified."""
    with children(fails()) as child:
        child.post("fails", [item(each) for each in "abcd"])
        died(child, 4)
        assert said(child, "discard", "fails", "a", "nobody", code=1) == {"discarded": 1, "unknown": ["nobody"]}
        found = receipt(child, "a")
        assert (found["outcome"], found["error"]) == ("dead", "ValueError: it always does")
        assert found["discarded_at"] >= found["finished_at"]
        assert [turn["change"] for turn in found["history"]] == ["died", "discarded"]
        assert said(child, "requeue", "fails", "a", code=1) == {"requeued": 0, "unknown": ["a"]}
        assert [json.loads(line)["inbound_event_id"] for line in child.admin("/dead").body.splitlines()] == [*"bcd"]
        died(child, 3)
        check_identity(child)
        assert child.stop() == 0
        assert said(child, "discard", "fails", "--since", "2100-01-01", "--limit", "2") == {
            "discarded": 0,
            "unknown": [],
        }
        assert said(child, "discard", "fails", "--since", "1h", "--limit", "1") == {"discarded": 1, "unknown": []}
        assert said(child, "discard", "fails", "--error", "it always") == {"discarded": 2, "unknown": []}
        assert said(child, "discard", "fails", "--all") == {"discarded": 0, "unknown": []}
        counts = totals(child)["fails"]
        assert (counts["dead"], counts["discarded"], counts["requeued"]) == (4, 4, 0)
        child.start()
        died(child, 0)
        assert receipt(child, "d")["discarded_at"]
        check_identity(child)


def test_a_discarded_event_is_dead_everywhere(children: Children) -> None:
    """Lists, exports and replays find it among the dead, and among the discarded alone, and show it as dead."""
    with children(fails()) as child:
        child.post("fails", [item(each) for each in "ab"])
        died(child, 2)
        said(child, "discard", "fails", "a")
        for outcome, found in (("dead", "ba"), ("discarded", "a"), ("processed,discarded", "a"), ("pending", "")):
            events = child.admin(f"/events?outcome={outcome}").json["events"]
            assert [(each["inbound_event_id"], each["outcome"]) for each in events] == [
                (name, "dead") for name in found
            ]
            rows = child.cli("export", "-", "--format", "ndjson", "--outcome", outcome).stdout.splitlines()
            assert [json.loads(row)["inbound_event_id"] for row in rows] == [*reversed(found)]
        done = child.cli("export", "-", "--format", "ndjson", "--event-id", "a")
        row, manifest = json.loads(done.stdout), json.loads(done.stderr)
        assert (row["outcome"], row["error"]) == ("dead", "ValueError: it always does")
        assert row["discarded_at"] == receipt(child, "a")["discarded_at"]
        assert manifest["totals"] == {"fails": {"dead": 1}}
        again = said(child, "replay", "fails", "--outcome", "dead", "--dry-run")
        assert again == {"dry_run": True, "events": 1, "gone": 1}


def test_a_terminal_is_asked_before_discarding(children: Children) -> None:
    """Where the events are not named, nor is `--yes`: without a yes nothing is done. What was done is said in lines."""
    with children(fails()) as child:
        child.post("fails", [item(each) for each in "abcd"])
        died(child, 4)
        assert child.stop() == 0
        command = [*child.command, "discard", "fails", "--config", str(child.config)]
        for more, typed, code, discarded in (
            (["--all"], "n\n", 1, None),
            (["--limit", "1"], "y\n", 0, 1),
            (["b"], "", 0, 1),
            (["--all", "--yes"], "", 0, 2),
            (["--all"], "", 0, 0),
        ):
            terminal = OnTerminal([*command, *more], child.environment, child.directory)
            terminal.type(typed)
            assert terminal.wait() == code
            shown = terminal.drawn.decode()
            assert ("[y/N]" in shown) is bool(typed)
            assert not typed or f"{1 if '--limit' in more else 4} dead events" in shown
            assert discarded is None or f"discarded  {discarded}" in STYLE.sub("", shown)
            terminal.close()


def test_a_dry_run_only_counts(children: Children) -> None:
    """Which are named, all, some of them: how many that would be is said, and nothing is done to them."""
    with children(fails()) as child:
        child.post("fails", [item(each) for each in "abc"])
        died(child, 3)
        for arguments, count, unknown in (
            (["--all"], 3, []),
            (["--limit", "2"], 2, []),
            (["--error", "it always does"], 3, []),
            (["--error", "it never does"], 0, []),
            (["a", "x"], 1, ["x"]),
        ):
            for command, name in (("requeue", "requeued"), ("discard", "discarded")):
                done = child.cli(command, "fails", *arguments, "--dry-run")
                assert json.loads(done.stdout) == {"dry_run": True, name: count, "unknown": unknown}
                assert done.returncode == (1 if unknown else 0)
        assert child.cli("discard", "fail", "--all", "--dry-run").returncode == 1
        assert said(child, "discard", "fails", "--all") == {"discarded": 3, "unknown": []}


def test_unclear_commands_are_refused(children: Children) -> None:
    """A command that could mean more than was meant does nothing."""
    with children(fails()) as child:
        for arguments in (
            ["discard", "fails"],
            ["requeue", "fails", "a", "--limit", "1"],
            ["discard", "fails", "--error", ""],
        ):
            assert child.cli(*arguments).returncode == 2
        for path, body in (
            ("/discard", {"source": "fails"}),
            ("/discard", {"source": "fails", "all": True, "error": ""}),
            ("/discard", {"source": "fails", "all": True, "kind": "x"}),
            ("/requeue", {"source": "fails", "event_ids": ["a"], "limit": 1}),
            ("/requeue", {"source": "fails", "all": True, "limit": 0}),
            ("/requeue", {"source": "fails", "all": True, "since": "soon"}),
            ("/retry", {"source": 1}),
        ):
            found = child.admin(path, method="POST", body=json.dumps(body).encode(), headers=JSON)
            assert (found.status, found.json["code"]) == (400, "invalid_request"), body
        found = child.admin("/retry", method="POST", body=b'{"source":"nobody"}', headers=JSON)
        assert (found.status, found.json["code"]) == (404, "not_found")


def test_a_pending_event_says_why_it_waits(children: Children) -> None:
    """Behind a retry of its own with the error and the time, behind an outage, a limit or a pause; the command says
    what the server says."""
    sections = [
        source("works", processor="processors:plain"),
        source("away", processor="processors:plain"),
        source("slow", rate_limit_events_per_second=0.0001),
        source("still", paused=True),
    ]
    with children("".join(sections)) as child:
        child.post("works", item("fails", do="fail"))
        child.post("away", item("meets", do="outage"))
        child.post("slow", [item("first"), item("held")])
        child.post("still", item("paused"))
        eventually(lambda: receipt(child, "fails", "works").get("next_attempt_at"))
        found = receipt(child, "fails", "works")
        assert (found["reason"], found["error"]) == ("retrying", "ValueError: this one is bad")
        eventually(lambda: receipt(child, "meets", "away")["reason"] == "outage")
        eventually(lambda: receipt(child, "meets", "away").get("next_attempt_at"))
        assert receipt(child, "meets", "away")["error"] == "ConnectionError: nobody answers"
        assert receipt(child, "held", "slow")["reason"] == "deferred"
        assert receipt(child, "paused", "still")["reason"] == "paused"
        assert said(child, "receipt", "still", "paused", code=1)["reason"] == "paused"
        eventually(lambda: "pending" not in receipt(child, "first", "slow"))
        [held] = [
            each
            for each in child.admin(f"/deliveries/{receipt(child, 'held', 'slow')['delivery']}").json["items"]
            if "pending" in each
        ]
        assert held["reason"] == "deferred"
        child.kill()
        stopped = said(child, "receipt", "works", "fails", code=1)
        assert (stopped["reason"], stopped["error"]) == ("retrying", "ValueError: this one is bad")
        assert said(child, "receipt", "away", "meets", code=1)["reason"] == "queued"


def test_what_waits_is_tried_now(children: Children) -> None:
    """After an outage, and after a failure of one event alone: the wait ends, and the log says that it goes on."""
    with children(source("works", processor="processors:plain")) as child:
        child.post("works", item("meets", do="outage", times=2))
        eventually(lambda: receipt(child, "meets", "works").get("next_attempt_at"))
        eventually(lambda: child.cli("retry", "works").returncode == 0 and pending(child, "works") == 0)
        assert statuses(child, "works", "meets") == ["processed"]
        line = child.wait_for_line("processor recovered")
        assert (line["source"], line["failures"] >= 1, line["seconds"] >= 0) == ("works", True, True)
        child.post("works", item("fails", do="fail", times=3))
        eventually(lambda: child.cli("retry", "works").returncode == 0 and pending(child, "works") == 0)
        assert statuses(child, "works", "fails") == ["processed"]
        assert child.stop() == 0
        assert said(child, "retry", "works") == {"retried": 0, "source_waited": False}
