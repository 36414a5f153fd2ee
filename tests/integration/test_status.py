"""`tidegate status` beside a real server, and without one: what it prints, and its exit code."""

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.cli import status as command
from server.cli.main import main
from server.cli.scrape import FIRST_ANSWER_SECONDS
from storage.model import Group
from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import calls, pending, shut_gate
from tests.support.server import Child, Children
from tests.support.store import filled, numbered
from tests.support.waiting import eventually


@pytest.fixture
def child(children: Children) -> Iterator[Child]:
    """A server with which nothing is wrong yet."""
    sections = [
        source("quiet", rate_limit_events_per_second=500),
        source("fails", processor="processors:always_fails", processor_attempts_max=1),
    ]
    with children("".join(sections)) as child:
        yield child


def status(child: Child, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Its exit code and its JSON."""
    done = child.cli("status", *arguments)
    return done.returncode, json.loads(done.stdout)


def names(value: dict[str, Any]) -> list[str]:
    return [each["name"] for each in value["wrong"]]


def let_die(child: Child) -> None:
    child.post("fails", item("a"))
    eventually(lambda: child.metrics()['tidegate_events_total{outcome="dead",source="fails"}'] == 1)


def test_nothing_wrong_is_exit_code_0(child: Child) -> None:
    """A server that is ready, without warnings and dead events: 0, and all that is known, as JSON and as a table."""
    child.post("quiet", [item("a"), item("b")])
    code, value = status(child)
    assert (code, value["ok"], value["server"], value["wrong"]) == (0, True, "ready", [])
    quiet = next(each for each in value["sources"] if each["id"] == "quiet")
    assert (quiet["totals"]["processed"], quiet["limit"], quiet["marks"]) == (2, "500/s defer", [])
    assert quiet["per_second"]["received"] == value["per_second"]["received"] == 0
    assert value["journal_seconds"] > 0
    assert value["commit_seconds"] > 0
    assert 0 < value["store"]["used_bytes"] < value["store"]["map_bytes"]
    done = child.cli("status", "--format", "table")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"tidegate {value['version']}  ready  ")
    assert [line.split()[0] for line in done.stdout.splitlines()[-3:]] == ["SOURCE", "fails", "quiet"]


def test_a_dead_event_is_something_wrong(child: Child) -> None:
    """Exit code 1 and its source's name, until it is given back or allowed; its error is there."""
    let_die(child)
    code, value = status(child)
    assert (code, names(value), value["dead"]) == (1, ["dead"], 1)
    fails = next(each for each in value["sources"] if each["id"] == "fails")
    assert (fails["processor_failures"], fails["last_error"]) == (1, "ValueError: it always does")
    code, value = status(child, "--allow-dead")
    assert (code, value["ok"], value["dead"]) == (0, True, 1)


def test_quiet_prints_what_is_wrong_alone(child: Child) -> None:
    """Nothing on stdout or stderr while all is well, so that cron has nothing to mail; else all of it."""
    done = child.cli("status", "--quiet", "--format", "table")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    let_die(child)
    done = child.cli("status", "--quiet", "--format", "table")
    assert done.returncode == 1
    assert "dead: source fails: 1 dead event: tidegate dead fails" in done.stdout


def test_every_warning_is_something_wrong(children: Children) -> None:
    """A paused source is a warning of readiness: exit code 1, and the source comes first."""
    with children(source("alpha") + source("still", paused=True)) as child:
        child.post("still", item("a"))
        eventually(lambda: pending(child, "still") == 1)
        code, value = status(child, "--allow-dead")
        assert (code, value["server"], names(value), value["pending"]) == (1, "ready", ["paused"], 1)
        assert value["oldest_pending_seconds"] > 0
        lines = child.cli("status", "--format", "table").stdout.splitlines()
        assert "paused: source still is paused: its events are taken and kept, and wait until it goes on" in lines
        assert lines[-2].startswith("still ")


def test_a_stopped_server_leaves_its_store(child: Child) -> None:
    """Nobody answers: that is said, exit code 1, and what the store tells; without a store both are said."""
    let_die(child)
    child.post("quiet", item("a"))
    assert child.stop() == 0
    code, value = status(child)
    assert (code, value["server"], names(value), value["dead"]) == (1, "no answer", ["no_answer", "dead"], 1)
    assert {each["id"]: each["totals"]["received"] for each in value["sources"]} == {"fails": 1, "quiet": 1}
    done = child.cli("status", "--format", "table", "--quiet", "--allow-dead")
    assert done.returncode == 1
    assert "is the server running?" in done.stdout
    child.store.rename(child.directory / "elsewhere")
    done = child.cli("status")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is the server running?" in done.stderr
    assert "there is no store in" in done.stderr


def test_a_server_that_hangs_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that takes the connection and says nothing is not waited for longer than FIRST_ANSWER_SECONDS; what the store
    tells follows."""
    assert FIRST_ANSWER_SECONDS <= 5
    monkeypatch.setattr(command, "FIRST_ANSWER_SECONDS", 0.05)
    filled(tmp_path / "data", [Group([numbered(1, 3)])])
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        address = f"127.0.0.1:{hanging.getsockname()[1]}"
        (tmp_path / "tidegate.toml").write_text(f'[server]\nadmin_bind = "{address}"\n')
        assert main(["status", "--config", str(tmp_path / "tidegate.toml")]) == 1
    value = json.loads(capsys.readouterr().out)
    assert value["wrong"] == [{"name": "no_answer", "message": f"{address} does not answer within 0.05 s"}]
    assert (value["server"], value["pending"]) == ("no answer", 3)


def test_a_killed_server_leaves_its_journal(child: Child) -> None:
    """What was acknowledged and stands in the journal alone is counted."""
    child.post("quiet", [item(str(number)) for number in range(5)])
    child.kill()
    code, value = status(child)
    assert (code, value["server"]) == (1, "no answer")
    assert next(each for each in value["sources"] if each["id"] == "quiet")["totals"]["received"] == 5


def test_a_wrong_token_is_said(children: Children) -> None:
    """Readiness needs no token; all else is refused, which is something wrong. With the token all is well."""
    with children(source("quiet"), server_keys='admin_token = "right"') as child:
        assert status(child)[0] == 0
        child.config.write_text(child.config.read_text().replace('"right"', '"wrong"'))
        code, value = status(child)
        assert (code, value["server"], names(value)) == (1, "ready", ["refused"])
        assert value["wrong"][0]["message"] == "GET /metrics is answered with 401 wrong or missing admin token"


def test_a_server_that_drains_is_not_ready(children: Children) -> None:
    """Its reason stands with what is wrong, as long as it answers."""
    with children(source("slow", processor="processors:plain")) as child, shut_gate(child):
        child.post("slow", item("a", do="hang"))
        eventually(lambda: calls(child))
        child.signal(signal.SIGTERM)
        child.wait_for_line("draining")
        code, value = status(child)
        assert (code, value["server"], names(value), value["pending"]) == (1, "not ready", ["draining"], 1)
