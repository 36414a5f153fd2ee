"""The commands as functions: what they print where, and their exit codes. No server runs."""

import io
import os
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import orjson
import pytest

import server
from server.base.source import Source
from server.cli import grammar
from server.cli.client import ServerAnswer
from server.cli.main import main
from server.cli.progress import Progress
from server.cli.samples import sample
from server.cli.send import Summary
from server.intake.headers import scan
from server.intake.intake import DeliveryHead, IntakeLimits, read
from storage.deliveries import PAYLOAD_KEY, WHOLE_ITEM, Deliveries
from storage.lmdb_store.environment import Store
from storage.model import Append, Group
from storage.statuses import EventStatus
from tests.support.clocks import HOUR_MS, Clocks, faked
from tests.support.config import TOKEN, source
from tests.support.store import MAP_SIZE_BYTES, changed, delivery, filled, numbered, outcome
from tests.support.waiting import HANG_SECONDS

READING = ("receipt", "event", "delivery", "dead", "requeue", "trust-clock", "verify")
COMMANDS = ("serve", "check", "source", "send", *READING)
ARGUMENTS = {
    "source": ["list"],
    "send": ["demo"],
    "receipt": ["demo", "x"],
    "event": ["demo", "x"],
    "delivery": ["x"],
    "requeue": ["demo", "x"],
}
MODULE = [sys.executable, "-m", "server"]
INSTALLED = [str(Path(sys.executable).with_name("tidegate"))]

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose store does not exist yet."""
    path = tmp_path / "tidegate.toml"
    storage = f"[storage]\nmap_size_bytes = {MAP_SIZE_BYTES}\n"
    path.write_text('[server]\nbind = "127.0.0.1:1"\nadmin_bind = "127.0.0.1:2"\n' + storage + source("demo"))
    return path


def fill(config: Path) -> None:
    """Events 1 to 5: processed, dead, dropped without a body, pending, and a duplicate of the first."""
    appends = [
        Append(delivery(1, ["done", "dead"]), 2, EventStatus.DEFERRED),
        Append(delivery(3, ["dropped"], body=b""), 0, EventStatus.DROPPED),
        Append(delivery(4, ["waits"]), 0, EventStatus.DEFERRED),
        Append(delivery(5, ["done"]), 1, EventStatus.DEFERRED),
    ]
    body = b'[{"payload":{"x":1}},{}]'
    first = changed(delivery(1, ["done", "dead"], body=body), payload_from=[PAYLOAD_KEY, WHOLE_ITEM])
    appends[0] = Append(first, 2, EventStatus.DEFERRED)
    outcomes = [
        outcome(EventStatus.PROCESSED, [1], details={1: b'{"result":7}'}),
        outcome(EventStatus.DEAD, [2], attempts=3, details={2: b'{"error":"ValueError: no"}'}),
        outcome(EventStatus.DUPLICATE, [5], originals=[1]),
    ]
    filled(config.parent / "data", [Group(appends), Group(changes=outcomes)])


def run(command: str, config: Path, *arguments: str) -> int:
    return main([command, "--config", str(config), *arguments])


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the last command was called with, instead of doing its work."""
    values: dict[str, object] = {}

    def note(**given: object) -> int:
        values.clear()
        values.update(given)
        return 0

    monkeypatch.setattr(grammar, "implementation", lambda _: note)
    return values


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_and_version_everywhere(command: str, capsys: Capture) -> None:
    """Every command has --help, or -h, and --version, on stdout, with exit code 0."""
    before = [command] if command else []
    for name in ("--help", "-h"):
        assert main([*before, name]) == 0
        assert capsys.readouterr().out.startswith("Usage: tidegate")
    assert main([*before, "--version"]) == 0
    assert capsys.readouterr() == (f"tidegate {server.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["check"],
        ["receipt", "--config", "x"],
        ["receipt", "--config", "x", "demo"],
        ["delivery", "--config", "x"],
        ["send", "--config", "x"],
        ["send", "--config", "x", "demo", "--count", "0"],
        ["send", "--config", "x", "demo", "--batch", "many"],
        ["receipt", "--config", "x", "demo", "\udcff"],
        ["serve", "--config", "x", "--colour"],
        ["source", "--config", "x"],
        ["source", "list"],
        ["source", "add", "--config", "x", "new", "--type", "other"],
        ["source", "add", "--config", "x", "new", "--type", "webhook", "--provider", "nobody"],
        ["source", "rotate", "--config", "x", "new", "--token", "--secret"],
    ],
)
def test_wrong_arguments_exit_with_2(arguments: list[str], capsys: Capture) -> None:
    """Arguments that make no sense: exit code 2, words on stderr, nothing on stdout."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "tidegate" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "serve"])
def test_a_bad_configuration_exits_with_2(command: str, tmp_path: Path, capsys: Capture) -> None:
    """A configuration that cannot be used: exit code 2 and one line for each mistake, whatever the command."""
    path = tmp_path / "bad.toml"
    assert run(command, path, *ARGUMENTS.get(command, [])) == 2
    assert "cannot be read: No such file" in capsys.readouterr().err
    path.write_text("[storage]\npath = 7\nmap_size_bytes = true\n")
    assert run(command, path, *ARGUMENTS.get(command, [])) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(": ")[:2] for line in err.splitlines()] == [
        ["tidegate", "storage.path"],
        ["tidegate", "storage.map_size_bytes"],
    ]


@pytest.mark.parametrize("command", READING)
def test_a_missing_store_is_not_made(command: str, config: Path, capsys: Capture) -> None:
    """Where there is no store yet: a clear line, exit code 1, and no store is made."""
    assert run(command, config, *ARGUMENTS.get(command, [])) == 1
    assert capsys.readouterr() == ("", f"tidegate: there is no store in {config.parent / 'data'}\n")
    assert not (config.parent / "data").exists()


@pytest.mark.parametrize("command", READING)
def test_no_secret_is_needed_to_read(command: str, config: Path, capsys: Capture) -> None:
    """Looking at the store needs none of the sources' secrets, so it works in any shell."""
    config.write_text(config.read_text().replace(TOKEN, "env:A_VARIABLE_THAT_IS_NOT_SET"))
    fill(config)
    code = run(command, config, *ARGUMENTS.get(command, []))
    out, err = capsys.readouterr()
    assert "A_VARIABLE" not in err
    assert code == (0 if command in ("dead", "trust-clock", "verify") else 1), out + err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("send demo --count 2 a b", {"source": "demo", "count": 2, "files": (Path("a"), Path("b"))}),
        ("send demo a --batch 2 -", {"source": "demo", "batch": 2, "files": (Path("a"), Path("-"))}),
        ("send demo -- -a --", {"files": (Path("-a"), Path("--"))}),
        ("requeue demo --all", {"source": "demo", "event_ids": (), "every": True}),
        ("requeue demo a -- -b -- --all", {"event_ids": ("a", "-b", "--", "--all"), "every": False}),
        ("receipt demo --all x", {"source": "demo", "event_id": "x", "every": True}),
        ("receipt demo -- --", {"source": "demo", "event_id": "--", "every": False}),
        ("receipt -- demo --all", {"source": "demo", "event_id": "--all", "every": False}),
        ("event demo -5", {"event_id": "-5"}),
        ("dead demo", {"source": "demo"}),
        ("dead", {"source": None}),
        ("source add a --type segment", {"name": "a", "kind": "segment"}),
        ("source add --type segment -- -a", {"name": "-a", "kind": "segment"}),
    ],
)
def test_options_may_stand_among_arguments(words: str, found: dict[str, object], called: dict[str, object]) -> None:
    """Options may come before, between and behind the arguments; what follows -- is an argument, whatever it is."""
    command, *rest = words.split()
    for line in (
        ["--config", "c", command, *rest],
        ["--config", "x", command, "--config", "c", *rest],
        *([command, *rest[:at], "--config", "c", *rest[at:]] for at in range(2 if rest and rest[0] == "demo" else 1)),
    ):
        assert main(line) == 0
        assert {key: called[key] for key in found} == found
        assert called["config"] == Path("c")


def test_a_receipt_tells_pending_from_done(config: Path, capsys: Capture) -> None:
    """An outcome is printed with 0; a pending event with 1; an unknown one is nothing on stdout, and 1."""
    fill(config)
    assert run("receipt", config, "demo", "done") == 0
    receipt = orjson.loads(capsys.readouterr().out)
    assert (receipt["outcome"], receipt["delivery"]) == ("processed", "0000000000001-abcdef")
    assert run("receipt", config, "demo", "waits") == 1
    out, err = capsys.readouterr()
    assert orjson.loads(out)["pending"] is True
    assert err == ""
    assert run("receipt", config, "demo", "nobody\x1b[31m\n") == 1
    assert capsys.readouterr() == ("", r"tidegate: there is no event 'nobody\x1b[31m\n' of source 'demo'" + "\n")


@pytest.mark.parametrize("words", ["receipt other done", "receipt --all other done", "event other done", "dead other"])
def test_a_source_that_nobody_knows(words: str, config: Path, capsys: Capture) -> None:
    """A source that neither the configuration nor the store has is said to be none; a configured one without events,
    and one that was removed and has events, are looked into."""
    fill(config)
    command, *arguments = words.split()
    assert run(command, config, *arguments) == 1
    assert capsys.readouterr() == ("", "tidegate: neither the configuration nor the store has a source 'other'\n")
    config.write_text(config.read_text().replace("[sources.demo]", "[sources.other]"))
    assert run(command, config, *arguments) == (0 if command == "dead" else 1)
    event = "are no dead events" if command == "dead" else "is no event 'done'"
    assert capsys.readouterr() == ("", f"tidegate: there {event} of source 'other'\n")
    assert run(command, config, *(argument.replace("other", "demo") for argument in arguments)) == 0
    out, err = capsys.readouterr()
    assert (out != "", err) == (True, "")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("receipt demmo done", 1),
        ("event demmo done", 1),
        ("events demmo", 1),
        ("tail demmo", 1),
        ("dead demmo", 1),
        ("why demmo", 1),
        ("requeue demmo dead", 1),
        ("discard demmo --all", 1),
        ("forget demmo done --yes", 1),
        ("retry demmo", 1),
        ("replay demmo", 1),
        ("replay demmo --dry-run", 1),
        ("replay demo --to demmo", 1),
        ("replay demo --to demmo --dry-run", 1),
        ("export - --format ndjson --source demmo", 1),
        ("send demmo", 2),
    ],
)
def test_a_mistyped_source_is_answered_by_another(words: str, code: int, config: Path, capsys: Capture) -> None:
    """Every command that is told a source which is not there says which was probably meant; if nothing is like it,
    nothing is offered."""
    fill(config)
    command, *arguments = words.split()
    assert run(command, config, *arguments) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "'demmo'" in err
    assert err.endswith("; did you mean demo?\n")
    assert run(command, config, *(each.replace("demmo", "xyz") for each in arguments)) == code
    assert "did you mean" not in capsys.readouterr().err


def test_all_receipts_are_one_list(config: Path, capsys: Capture) -> None:
    """--all prints every receipt as one list, the newest first."""
    fill(config)
    assert run("receipt", config, "--all", "demo", "done") == 0
    duplicate, processed = orjson.loads(capsys.readouterr().out)
    assert (duplicate["outcome"], processed["outcome"]) == ("duplicate", "processed")
    assert duplicate["duplicate_of"] == processed["delivery"]
    assert run("receipt", config, "--all", "demo", "waits") == 1
    assert [each["pending"] for each in orjson.loads(capsys.readouterr().out)] == [True]
    assert run("receipt", config, "--all", "demo", "nobody") == 1
    assert capsys.readouterr().out == ""


def test_an_event_comes_with_its_result(config: Path, capsys: Capture) -> None:
    """The event is printed with its result; one whose body was not kept is explained, with 1; so is an unknown one."""
    fill(config)
    assert run("event", config, "demo", "done") == 0
    event = orjson.loads(capsys.readouterr().out)
    assert (event["payload"], event["result"]) == ({"x": 1}, 7)
    assert run("event", config, "demo", "dropped") == 1
    out, err = capsys.readouterr()
    assert (out, "its body was not kept" in err) == ("", True)
    assert run("event", config, "demo", "nobody") == 1
    assert capsys.readouterr() == ("", "tidegate: there is no event 'nobody' of source 'demo'\n")


def test_a_delivery_comes_with_its_items(config: Path, capsys: Capture) -> None:
    """A delivery is printed with each of its items; an unknown or impossible id is 1."""
    fill(config)
    assert run("delivery", config, "0000000000001-abcdef") == 0
    assert [item["outcome"] for item in orjson.loads(capsys.readouterr().out)["items"]] == ["processed", "dead"]
    for unknown in ("0000000000001-abcdeg", "0000000000002-abcdef", "x", "é", "../../etc"):
        assert run("delivery", config, unknown) == 1
        assert capsys.readouterr().out == ""


def test_dead_events_are_json_lines(config: Path, capsys: Capture) -> None:
    """Dead events are printed as lines of JSON, of all sources or of one."""
    fill(config)
    assert run("dead", config) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert orjson.loads(line)["error"] == "ValueError: no"
    assert run("dead", config, "demo") == 0
    assert capsys.readouterr().out.splitlines() == [line]
    config.write_text(config.read_text() + source("quiet"))
    assert run("dead", config, "quiet") == 0
    assert capsys.readouterr() == ("", "tidegate: there are no dead events of source 'quiet'\n")


def test_requeue_without_a_server(config: Path, capsys: Capture) -> None:
    """On a stopped store dead events become pending again; an id of which none is dead is named, with 1."""
    fill(config)
    assert run("requeue", config, "demo", "nobody", "done", "waits", "dead", "dead") == 1
    assert orjson.loads(capsys.readouterr().out) == {"requeued": 1, "unknown": ["nobody", "done", "waits"]}
    assert run("receipt", config, "demo", "dead") == 1
    receipt = orjson.loads(capsys.readouterr().out)
    assert (receipt["pending"], receipt["attempts"]) == (True, 0)
    assert run("requeue", config, "demo", "--all") == 0
    assert orjson.loads(capsys.readouterr().out) == {"requeued": 0, "unknown": []}
    assert run("verify", config) == 0


def test_all_dead_of_a_source_are_requeued(config: Path, capsys: Capture) -> None:
    """All dead events of one source are requeued, in several steps, and no other source's."""
    count = 10_500
    appends = [
        Append(delivery(1, [f"id-{at}" for at in range(count)]), count, EventStatus.DEFERRED),
        Append(delivery(count + 1, ["id-0"], source_id="other"), 1, EventStatus.DEFERRED),
    ]
    outcomes = [
        outcome(EventStatus.DEAD, range(1, count + 1), attempts=1),
        outcome(EventStatus.DEAD, [count + 1], source_id="other", attempts=1),
    ]
    filled(config.parent / "data", [Group(appends), Group(changes=outcomes)])
    assert run("requeue", config, "demo", "--all") == 0
    assert orjson.loads(capsys.readouterr().out) == {"requeued": count, "unknown": []}
    assert run("dead", config) == 0
    assert [orjson.loads(line)["source_config_id"] for line in capsys.readouterr().out.splitlines()] == ["other"]
    assert run("verify", config) == 0


def test_requeue_needs_to_know_what(config: Path, capsys: Capture) -> None:
    """No id and no --all, or both, is exit code 2; a source without any event is 1."""
    fill(config)
    assert run("requeue", config, "demo") == 2
    assert capsys.readouterr().err.endswith("or say --all\n")
    assert run("requeue", config, "demo", "dead", "--all") == 2
    assert "not both" in capsys.readouterr().err
    assert run("requeue", config, "oops", "--all") == 1
    assert capsys.readouterr() == ("", "tidegate: neither the configuration nor the store has a source 'oops'\n")
    config.write_text(config.read_text() + source("oops"))
    assert run("requeue", config, "oops", "--all") == 1
    assert capsys.readouterr() == ("", "tidegate: the store has no event of source 'oops'\n")


class Answering(io.StringIO):
    """A terminal on which somebody has typed."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("ids", "words"), [(["done"], "nothing was forgotten\n"), (["nobody"], "")])
def test_nothing_forgotten_is_nothing_overwritten(
    ids: list[str], words: str, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Where the question is answered with no, and where there is no such event, the result does not say that anything
    was overwritten."""
    fill(config)
    monkeypatch.setattr(sys, "stdin", Answering("n\n"))
    assert run("forget", config, "demo", *ids) == 1
    out, err = capsys.readouterr()
    result = orjson.loads(out)
    assert (result["forgotten"], result["events"], result["overwritten"]) == (0, 0, False)
    assert err.endswith(words)
    assert run("event", config, "demo", "done") == 0


def test_trust_clock_without_a_server(config: Path, tmp_path: Path, capsys: Capture) -> None:
    """What was withheld over a reboot counts once: a dry run writes nothing, the second time nothing is left."""
    data, clocks = config.parent / "data" / "data.mdb", Clocks(tmp_path / "clocks")

    def trusting(*arguments: str) -> object:
        assert run("trust-clock", config, *arguments) == 0
        return orjson.loads(capsys.readouterr().out)

    done = replace(outcome(EventStatus.PROCESSED, [1]), store_ms=clocks.wall_ms - 80 * HOUR_MS)
    with faked(clocks.path):
        filled(config.parent / "data", [Group([numbered(1, 1)]), Group(changes=[done])])
        clocks.reboot(wall_hours=25)
        before = data.read_bytes()
        nothing = {"bodies_expiring": 0, "receipts_expiring": 0}
        said = {"dry_run": True, "withheld_seconds": 25 * 3600.0, "ids_expiring": 1} | nothing
        assert trusting("--dry-run") == said
        assert data.read_bytes() == before
        assert trusting() == said | {"dry_run": False}
        assert trusting() == {"dry_run": False, "withheld_seconds": 0.0, "ids_expiring": 0} | nothing


def test_requeue_beside_another_writer(config: Path, capsys: Capture) -> None:
    """Where another process writes and its admin side does not answer, nothing is changed: exit code 1 and why."""
    fill(config)
    store = Store.open(config.parent / "data", map_size_bytes=MAP_SIZE_BYTES, mode="write")
    try:
        child = subprocess.run(
            [*MODULE, "requeue", "--config", str(config), "demo", "dead"],
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )
    finally:
        store.close()
    assert (child.returncode, child.stdout) == (1, "")
    assert "another process writes to the store" in child.stderr
    assert "127.0.0.1:2" in child.stderr
    assert "Traceback" not in child.stderr


def test_verify_reports_each_problem(config: Path, capsys: Capture) -> None:
    """A good store is reported on stdout with 0; a damaged one with 1, each problem in a line on stderr."""
    fill(config)
    assert run("verify", config) == 0
    out, err = capsys.readouterr()
    report = orjson.loads(out)
    assert (report["ok"], report["events"], report["problems"], err) == (True, 5, [], "")
    data = config.parent / "data" / "data.mdb"
    content = data.read_bytes()
    place = content.rindex(b"0.0.0.0" if b"0.0.0.0" in content else b"demo")
    data.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
    assert run("verify", config) == 1
    out, err = capsys.readouterr()
    report = orjson.loads(out)
    assert report["ok"] is False
    assert len(err.splitlines()) == len(report["problems"]) > 0
    assert "Traceback" not in err


def test_check_describes_and_masks_secrets(config: Path, capsys: Capture) -> None:
    """A good configuration is described on stdout, its secrets masked."""
    assert run("check", config) == 0
    out, err = capsys.readouterr()
    assert "demo: webhook; tokens ***\n" in out
    assert TOKEN not in out + err


def test_check_says_how_senders_sign(config: Path, capsys: Capture) -> None:
    """Of a source without tokens only the secrets are told, with their scheme; and what pages and silence it knows."""
    keys = {"tokens": [], "signing_secrets": ["s3cret-s3cret"], "signature": "github", "expect_every_seconds": 90}
    config.write_text(source("hooks", **keys) + source("web", type="segment", cors_origins=["https://a.example"]))
    assert run("check", config) == 0
    out = capsys.readouterr().out
    assert "hooks: webhook; signing secrets *** (github)\n" in out
    assert "s3cret" not in out
    assert "expected: something every 90 s\n" in out
    assert "pages: https://a.example\n" in out


def test_check_looks_at_the_place_of_the_store(config: Path, capsys: Capture) -> None:
    """What serve would refuse is a mistake here: a file where the store's directory, or one above it, should be."""
    (config.parent / "file").write_text("")
    for path in ("file", "file/deep/store"):
        config.write_text(f'[storage]\npath = "{path}"\n')
        assert run("check", config) == 2
        assert capsys.readouterr() == ("", f"tidegate: storage.path: {config.parent / 'file'} is not a directory\n")
    config.write_text('[storage]\npath = "to/be/made"\n')
    assert run("check", config) == 0
    assert not (config.parent / "to").exists()


def test_check_looks_whether_the_store_can_be_written(
    config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that this user cannot write to is a mistake."""
    monkeypatch.setattr(os, "access", lambda path, *_, **__: path != config.parent)  # root may write anywhere
    assert run("check", config) == 2
    assert "cannot be written to" in capsys.readouterr().err


def test_check_names_settings_without_effect(config: Path, capsys: Capture) -> None:
    """A burst without a rate, and a processor's limits without a processor, are told; with them they are not."""
    keys = {"rate_limit_burst_events": 5, "over_limit": "drop", "processor_timeout_seconds": 7}
    config.write_text(config.read_text() + source("vain", **keys))
    assert run("check", config) == 0
    found = [line.strip() for line in capsys.readouterr().out.splitlines() if "no effect" in line]
    assert found == [
        "warning: rate_limit_burst_events has no effect without rate_limit_events_per_second",
        "warning: over_limit has no effect without rate_limit_events_per_second",
        "warning: processor_timeout_seconds has no effect without processor",
    ]
    used = source("used", rate_limit_events_per_second=1, processor="os:listdir", **keys)
    config.write_text(config.read_text().partition("[sources.vain]")[0] + used)
    assert run("check", config) == 0
    assert "no effect" not in capsys.readouterr().out


def test_check_imports_every_processor(config: Path, capsys: Capture) -> None:
    """Every processor is imported, beside other mistakes too; what it prints is not our output."""
    (config.parent / "processors_of_test_cli.py").write_text("print('imported')\n\n\ndef take(events): ...\n")
    config.write_text(config.read_text() + source("good", processor="processors_of_test_cli:take"))
    assert run("check", config) == 0
    out, err = capsys.readouterr()
    assert ("imported" in out, "imported" in err) == (False, True)
    missing = source("missing", processor="processors_of_test_cli:nothing")
    gone = source("gone", processor="no_such_module_here:f")
    config.write_text(config.read_text() + missing + gone + source("bad", type="other"))
    assert run("check", config) == 2
    out, err = capsys.readouterr()
    assert out == ""
    keys = [line.split(": ")[1] for line in err.splitlines()]
    assert keys == ["sources.bad.type", "sources.missing.processor", "sources.gone.processor"]


def test_send_says_when_nobody_listens(config: Path, capsys: Capture) -> None:
    """Where no server listens: exit code 1, a summary for programs and a line for people."""
    assert run("send", config, "demo", "--count", "3") == 1
    out, err = capsys.readouterr()
    assert orjson.loads(out)["failed"] == 1
    assert "nobody listens on 127.0.0.1:1" in err


@pytest.mark.parametrize("answer", [b"{}", b"[]", b"hello", b'{"accepted":1}'])
@pytest.mark.parametrize("status", [200, 404])
def test_send_to_another_program(config: Path, capsys: Capture, status: int, answer: bytes) -> None:
    """What answers on the port is not a Tidegate: exit code 1, and a line that says so."""

    class Other(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        config.write_text(config.read_text().replace("127.0.0.1:1", f"127.0.0.1:{other.server_port}"))
        thread = threading.Thread(target=other.handle_request)
        thread.start()
        assert run("send", config, "demo") == 1
        thread.join()
    out, err = capsys.readouterr()
    assert orjson.loads(out)["errors"] == {"no answer": 1}
    assert err.startswith("tidegate: no answer: ")


def test_send_says_what_it_cannot(config: Path, capsys: Capture) -> None:
    """An unknown source, hashes instead of tokens, files with --batch, no file, port 0: each in a line."""
    assert run("send", config, "other") == 2
    assert "there are: demo" in capsys.readouterr().err
    assert run("send", config, "demo", "--batch", "2", "file") == 2
    assert run("send", config, "demo", str(config.parent / "missing.json")) == 1
    assert "missing.json: No such file" in capsys.readouterr().err
    text = config.read_text()
    config.write_text(text.replace(TOKEN, f"sha256:{'0' * 64}"))
    assert run("send", config, "demo") == 2
    assert "no token can be made from one; say --token-from" in capsys.readouterr().err
    (config.parent / "token").write_text(TOKEN)
    assert run("send", config, "demo", "--token-from", f"file:{config.parent / 'token'}") == 2
    assert "--token-from: not one of the tokens of source 'demo'" in capsys.readouterr().err
    assert run("send", config, "demo", "--token-from", TOKEN) == 2
    assert "--token-from: must be env:NAME or file:PATH" in capsys.readouterr().err
    config.write_text(text.replace("127.0.0.1:1", "127.0.0.1:0"))
    assert run("send", config, "demo") == 2
    assert "server.bind: port 0" in capsys.readouterr().err


def test_the_summary_sums_the_answers() -> None:
    """The summary sums the answers; anything rejected, dropped or refused is no success, what is deferred is one."""
    summary = Summary()
    good = {"accepted": 2, "deferred": 1, "dropped": 0, "rejected": [], "delivery": "d"}
    summary.add(ServerAnswer(200, good), ["a", "b"])
    assert (summary.ok, summary.last) == (True, {"delivery": "d", "event_id": "b"})
    rejecting = good | {"rejected": [{"index": 4, "code": "invalid_event", "message": "no id"}]}
    for _ in range(2):
        summary.add(ServerAnswer(200, rejecting), [])
    assert summary.ok is False
    for _ in range(2):
        summary.add(ServerAnswer(503, {"code": "overloaded", "message": "full"}), [])
    assert summary.problems == ["rejected: item 4: no id", "503 overloaded: full"]
    value = summary.value()
    assert (value["accepted"], value["deferred"], value["rejected"], value["failed"]) == (6, 3, 2, 2)
    assert value["errors"] == {"503 overloaded": 2}


@pytest.mark.parametrize("kind", ["webhook", "segment"])
@pytest.mark.parametrize("batched", [False, True])
def test_samples_pass_intake_as_events(kind: str, batched: bool) -> None:
    """Sample bodies pass intake as events with the ids that they say, each of them once."""
    made = Source(id="demo", type=kind, token_digests=())  # type: ignore[arg-type]
    count = 5 if batched else 1
    body, ids = sample(made, count, batched=batched)
    reading = read(
        made,
        DeliveryHead("demo", None, scan([]), len(body), "127.0.0.1"),
        body,
        0,
        IntakeLimits(10**6, 10**6, 10**4, 100),
    )
    assert isinstance(reading, Deliveries)
    assert list(reading.ids) == ids
    assert len(set(ids)) == count
    assert (reading.batched, [list(each) for each in reading.rejected]) == ([batched], [[]])


def test_the_bar_shows_share_and_rate() -> None:
    """The bar shows share, count and rate; without a total, the count and the rate."""
    assert Progress("requests", 10).line(5, 0.5) == f"[{'#' * 15}{'.' * 15}] 5 of 10 requests  10/s"
    assert Progress("requests", 1).line(1, 0.000001).endswith("1 of 1 requests")  # too soon for a rate
    assert Progress("events read").line(12000, 2, "log") == "12,000 events read  6,000/s  log"


def test_progress_is_for_terminals(capsys: Capture) -> None:
    """Where stderr is no terminal nothing is drawn."""
    with Progress("requests", 1) as progress:
        progress.update(1)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("command", [MODULE, INSTALLED])
def test_command_and_module_are_the_same(command: list[str]) -> None:
    """`tidegate` and `python -m server` are the same command, and pass its exit code on."""
    if not Path(command[0]).exists():
        pytest.skip("not installed")
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    assert (version.returncode, version.stdout) == (0, f"tidegate {server.__version__}\n")
    failing = [*command, "check", "--config", os.devnull + "/x"]
    child = subprocess.run(failing, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    assert (child.returncode, child.stdout) == (2, "")
    assert child.stderr.startswith("tidegate: ")
