"""The commands beside a real server: sending, requeueing, reading, verifying; and what a closed pipe does."""

import errno
import hashlib
import json
import os
import pty
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from io import RawIOBase
from typing import Any

import pytest

from tests.support.client import item
from tests.support.config import TOKEN, source
from tests.support.ledger import totals
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually

pytestmark = pytest.mark.xdist_group("commands")  # one server for all of them

SECRET = "a-signing-secret"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """One server for the whole file; its configuration names the ports that it got, as a real one's does."""
    with Children(tmp_path_factory.mktemp("commands")) as children:
        sections = [
            source("demo"),
            source("signed", signing_secrets=["another-secret", SECRET]),
            source("segment", type="segment", tokens=["env:TOKEN_OF_TEST_COMMANDS"]),
            source("slow", rate_limit_events_per_second=0.0001),
            source("drops", rate_limit_events_per_second=0.0001, over_limit="drop"),
            source("fails", processor="processors:always_fails", processor_attempts_max=1),
            source("shown", processor="processors:always_fails", processor_attempts_max=1),
        ]
        child = children("".join(sections))
        child.environment["TOKEN_OF_TEST_COMMANDS"] = "ü-token"
        with child:
            name_ports(child)
            yield child


def name_ports(child: Child) -> None:
    text = child.config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{child.port}", 1)
    child.config.write_text(text.replace("127.0.0.1:0", f"127.0.0.1:{child.admin_port}", 1))


def send(server: Child, *arguments: str, stdin: bytes = b"") -> tuple[int, dict[str, Any], str]:
    """Exit code, summary and the words of `tidegate send`."""
    child = subprocess.run(
        [*server.command, "send", "--config", str(server.config), *arguments],
        input=stdin,
        capture_output=True,
        env=server.environment,
        timeout=HANG_SECONDS,
        check=False,
    )
    return child.returncode, json.loads(child.stdout), child.stderr.decode()


def counts(summary: dict[str, Any]) -> dict[str, int]:
    """What of the summary is not 0."""
    return {key: value for key, value in summary.items() if isinstance(value, int) and value}


@pytest.mark.parametrize("source_id", ["demo", "signed", "segment"])
def test_samples_are_sent_and_taken(server: Child, source_id: str) -> None:
    """Samples are taken, whatever the source asks for; the summary names an event, and its receipt is there."""
    code, summary, words = send(server, source_id, "--count", "3", "--batch", "4")
    assert (code, counts(summary), words) == (0, {"sent": 3, "accepted": 12}, "")
    code, summary, _ = send(server, source_id)
    assert (code, counts(summary)) == (0, {"sent": 1, "accepted": 1})
    event_id = summary["last"]["event_id"]
    eventually(lambda: server.cli("receipt", source_id, event_id).returncode == 0)
    receipt = json.loads(server.cli("receipt", source_id, event_id).stdout)
    assert (receipt["outcome"], receipt["delivery"]) == ("processed", summary["last"]["delivery"])


def test_files_are_sent_as_they_are(server: Child) -> None:
    """Each file's body is sent as it is, and so is what comes on stdin; --count sends each so often."""
    first, second = server.directory / "one.json", server.directory / "-two.json"
    first.write_bytes(b'{"inbound_event_id":"from-file-1","payload":"\xc3\xbc"}\n')
    second.write_bytes(b'[{"inbound_event_id":"from-file-2"},{"inbound_event_id":"from-file-3"}]')
    stdin = b'{"inbound_event_id":"from-stdin"}'
    code, summary, _ = send(server, "demo", str(first), "-", "--count", "2", "--", str(second), stdin=stdin)
    assert (code, counts(summary)) == (0, {"sent": 6, "accepted": 8})
    assert summary["last"].keys() == {"delivery"}
    for event_id in ("from-file-1", "from-file-2", "from-file-3", "from-stdin"):
        assert json.loads(server.cli("event", "demo", event_id).stdout)["inbound_event_id"] == event_id
    eventually(lambda: len(json.loads(server.cli("receipt", "--all", "demo", "from-stdin").stdout)) == 2)


def test_send_what_is_not_accepted(server: Child) -> None:
    """Exit code 1 where anything was rejected, dropped or refused, and why; what is deferred is kept, so 0."""
    code, summary, words = send(server, "demo", "-", stdin=b'[{"a":1},{"inbound_event_id":true}]')
    assert (code, counts(summary)) == (1, {"sent": 1, "accepted": 1, "rejected": 1})
    assert "item 1" in words
    code, summary, words = send(server, "demo", "-", stdin=b"{")
    assert (code, counts(summary), summary["errors"]) == (1, {"sent": 1, "failed": 1}, {"400 invalid_json": 1})
    assert "400 invalid_json: " in words
    code, summary, _ = send(server, "slow", "--batch", "3")
    assert (code, counts(summary)) == (0, {"sent": 1, "accepted": 1, "deferred": 2})
    code, summary, _ = send(server, "drops", "--batch", "3")
    assert (code, counts(summary)) == (1, {"sent": 1, "accepted": 1, "dropped": 2})


def test_send_where_only_the_hash_is_known(server: Child) -> None:
    """A configuration with the hash of a token alone: the token is read from where the option says."""
    other = server.directory / "hashed.toml"
    hashed = f"sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}"
    other.write_text(server.config.read_text().replace(TOKEN, hashed))
    child = subprocess.run(
        [*server.command, "send", "--config", str(other), "demo", "--token-from", "env:TOKEN_OF_SEND"],
        capture_output=True,
        text=True,
        env=server.environment | {"TOKEN_OF_SEND": TOKEN},
        timeout=HANG_SECONDS,
        check=False,
    )
    assert (child.returncode, json.loads(child.stdout)["accepted"]) == (0, 1)


def test_send_with_a_wrong_token(server: Child) -> None:
    """A token that the server does not know: 401 for each request, counted and said once."""
    other = server.directory / "other.toml"
    other.write_text(server.config.read_text().replace(TOKEN, "another-token"))
    child = subprocess.run(
        [*server.command, "send", "--config", str(other), "demo", "--count", "3"],
        capture_output=True,
        text=True,
        env=server.environment,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert child.returncode == 1
    assert json.loads(child.stdout)["errors"] == {"401 unauthorized": 3}
    assert child.stderr.count("401 unauthorized") == 1
    assert "another-token" not in child.stdout + child.stderr


def test_progress_on_a_terminal(server: Child) -> None:
    """On a terminal a bar is drawn on stderr and wiped at the end; stdout has the summary alone."""
    said, drawn = _on_a_terminal(server, "send", "demo", "--count", "300")
    assert json.loads(said)["accepted"] == 300
    assert "of 300 requests" in drawn
    assert drawn.endswith("\r\x1b[K")


def test_a_requeue_shows_its_progress(server: Child) -> None:
    """On a terminal, beside the running server; stdout has the summary alone."""
    server.post("shown", [{"inbound_event_id": f"shown-{number}"} for number in range(3)])
    eventually(lambda: server.metrics()['tidegate_events_total{outcome="dead",source="shown"}'] == 3)
    said, drawn = _on_a_terminal(server, "requeue", "shown", "--all")
    assert json.loads(said)["requeued"] == 3
    assert "of 3 events given back" in drawn
    assert drawn.endswith("\r\x1b[K")


def _on_a_terminal(server: Child, name: str, *arguments: str) -> tuple[bytes, str]:
    """What a command says on stdout, and draws on stderr, which is a terminal."""
    ours, theirs = pty.openpty()
    command = [*server.command, name, "--config", str(server.config), *arguments]
    environment = server.environment | {"COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as child:
        os.close(theirs)
        hang = threading.Timer(HANG_SECONDS, child.kill)
        hang.start()
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            drawn = b"".join(iter(partial(_read_terminal, terminal), b"")).decode()
        assert child.stdout
        said = child.stdout.read()
        hang.cancel()
    return said, drawn


def _read_terminal(terminal: RawIOBase) -> bytes:
    """Some of what was written; nothing once nobody has the other side any more."""
    try:
        return terminal.read(65536) or b""
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def test_requeue_by_the_server(server: Child) -> None:
    """Beside a running server the admin side does it: events get their turn again; unknown ids are named, with 1."""
    ids = [f"dead-{number}" for number in range(3)]
    server.post("fails", [{"inbound_event_id": event_id} for event_id in ids])
    eventually(lambda: len(server.cli("dead", "fails").stdout.splitlines()) == 3)
    done = server.cli("requeue", "fails", "dead-1", "--", "--nobody", "dead-1")
    assert (done.returncode, json.loads(done.stdout)) == (1, {"requeued": 1, "unknown": ["--nobody"]})
    dead = 'tidegate_events_total{outcome="dead",source="fails"}'
    eventually(lambda: server.metrics()[dead] == 4)
    done = server.cli("requeue", "fails", "--all")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"requeued": 3, "unknown": []})
    eventually(lambda: server.metrics()[dead] == 7)
    done = server.cli("requeue", "nobody", "--all")
    assert (done.returncode, done.stdout) == (1, "")
    assert "has a source 'nobody'" in done.stderr
    assert json.loads(server.cli("verify").stdout)["ok"] is True


def test_requeue_with_the_admin_token(children: Children) -> None:
    """The command shows the admin token of the configuration; without a server it needs none, and the events wait."""
    child = children(
        source("fails", processor="processors:always_fails", processor_attempts_max=1),
        server_keys='admin_token = "secret"',
    )
    with child:
        name_ports(child)
        child.post("fails", {"inbound_event_id": "x"})
        eventually(lambda: child.cli("receipt", "fails", "x").returncode == 0)
        done = child.cli("requeue", "fails", "x")
        assert (done.returncode, json.loads(done.stdout)) == (0, {"requeued": 1, "unknown": []})
        eventually(lambda: child.cli("receipt", "fails", "x").returncode == 0)
        assert child.stop() == 0
    done = child.cli("requeue", "fails", "--all")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"requeued": 1, "unknown": []})
    assert totals(child)["fails"]["pending"] == 1
    with child:
        eventually(lambda: child.cli("receipt", "fails", "x").returncode == 0)
    assert totals(child)["fails"]["dead"] == 3


def test_a_closed_pipe_ends_quietly(server: Child) -> None:
    """A reader that has seen enough ends a long list quietly, with the exit code of a broken pipe."""
    server.post("fails", [{"inbound_event_id": f"{'x' * 400}-{number}"} for number in range(2000)])
    eventually(lambda: len(server.cli("dead", "fails").stdout.splitlines()) >= 2000)
    with subprocess.Popen(
        [*server.command, "dead", "--config", str(server.config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=server.environment,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline().startswith(b'{"inbound_event_id"')
        child.stdout.close()
        words = child.stderr.read()
        assert (child.wait(), words) == (141, b"")


def test_verify_beside_a_server(server: Child) -> None:
    """A live store is checked as it is, and found good."""
    assert server.post("demo", item("verified")).status == 200
    eventually(lambda: server.cli("receipt", "demo", "verified").returncode == 0)
    found = server.cli("verify")
    report = json.loads(found.stdout)
    assert (found.returncode, report["ok"], found.stderr) == (0, True, "")
    assert report["sources"]["demo"]["processed"] > 0


def test_verify_tells_people_in_a_sentence(server: Child) -> None:
    """On a terminal it is a table with a row a source, without what is 0 of all, and whether the store is sound."""
    assert server.post("demo", [item("told"), item("told-too")]).status == 200
    eventually(lambda: server.cli("receipt", "demo", "told").returncode == 0)
    report = json.loads(server.cli("verify").stdout)
    found = server.cli("verify", "--format", "table", check=True).stdout.splitlines()
    names = [name for name in report["sources"]["demo"] if any(each[name] for each in report["sources"].values())]
    assert " ".join(found[0].split()) == " ".join(["SOURCE", *names]).upper().replace("_", " ")
    assert [row.split()[0] for row in found[1:-2]] == list(report["sources"])
    assert found[-1].startswith(f"The store is sound: {report['events']:,} events and {report['deliveries']:,} deliver")
