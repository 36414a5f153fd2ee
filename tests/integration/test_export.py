"""Exports: every event once, as it is, in every format; and a manifest."""

import csv
import fcntl
import hashlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
import tomllib
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import server.cli
from server.base.json_text import json_text
from server.cli import export
from server.cli.export import _until_now
from server.cli.interrupt import Interruptible
from server.intake.events import rfc3339
from storage.model import Append, Group
from storage.read.query import EventQuery
from storage.read.reader import Reader
from storage.statuses import EventStatus
from tests.support.config import source
from tests.support.exports import BODY, FORMATS, exported, exporting_place, manifest, needs_pyarrow, read, tidegate
from tests.support.server import ROOT
from tests.support.store import delivery, filled, numbered, opened, outcome, singles
from tests.support.waiting import HANG_SECONDS

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a configuration, and a store that has events of every outcome."""
    return exporting_place(tmp_path)


@pytest.mark.parametrize("shape", FORMATS)
def test_every_event_is_there_once(place: Path, shape: str, capsys: Capture) -> None:
    """In each format all events are there, the oldest first, and the manifest says how many, which, and of what."""
    rows = exported(place, "file", shape)
    assert [int(row["number"]) for row in rows] == list(range(1, 10))
    said = manifest(place, "file")
    data = (place / "file").read_bytes()
    assert json.loads(capsys.readouterr().out) == said
    assert (said["sha256"], said["bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
    found = [said[name] for name in ("count", "first_number", "last_number", "through", "complete", "format")]
    assert found == [9, 1, 9, 9, True, shape]
    assert said["totals"] == {
        "demo": {"dropped": 1, "duplicate": 1, "pending": 5, "processed": 1},
        "other": {"dead": 1},
    }
    assert tidegate(place, "verify", "--export", str(place / "file")) == 0
    assert json.loads(capsys.readouterr().out)["count"] == 9


@pytest.mark.parametrize("shape", FORMATS)
def test_an_export_takes_little_memory(tmp_path: Path, shape: str) -> None:
    """Nor does its check: though a body of 300 kB makes 60 MB of events, since its batch gives to each of 200 what they
    have in common."""
    (tmp_path / "tidegate.toml").write_text(source("demo", type="segment"))
    listed = ",".join(['{"type":"page"}'] * 200)
    body = f'{{"context":{{"text":"{"x" * 300_000}"}},"batch":[{listed}]}}'.encode()
    events = delivery(1, [None] * 200, source_type="segment", body=body)
    filled(tmp_path / "data", [Group([Append(events, 200, EventStatus.DEFERRED)])])
    assert peak_of(tmp_path, "export", str(tmp_path / "file"), "--format", shape) < 40_000_000
    assert [len(payload["context"]["text"]) for payload in payloads(tmp_path / "file", shape)] == [300_000] * 200
    assert peak_of(tmp_path, "verify", "--export", str(tmp_path / "file")) < 40_000_000


def peak_of(place: Path, *arguments: str) -> int:
    """How many bytes a command has at most."""
    tracemalloc.start()
    try:
        assert tidegate(place, *arguments) == 0
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def payloads(file: Path, shape: str) -> list[Any]:
    """The payloads of an export, which has them as JSON where each has a cell."""
    found = [row["payload"] for row in read(file, shape)]
    return [json.loads(each) if isinstance(each, str) else each for each in found]


def test_lines_are_events_as_the_command_has_them(place: Path, capsys: Capture) -> None:
    """A line has what `tidegate event` prints, and number, outcome and time before it."""
    rows = exported(place, "file", "ndjson", "--source", "demo")
    capsys.readouterr()
    assert tidegate(place, "event", "demo", "a") == 0
    event = json.loads(capsys.readouterr().out)
    assert {name: rows[0][name] for name in event} == event
    assert rows[0]["result"] == {"ok": [1]}
    assert list(rows[0])[:4] == ["number", "outcome", "finished_at", "attempts"]
    assert (rows[0]["outcome"], rows[1]["finished_at"]) == ("processed", None)
    assert [row["payload"] for row in rows[:4]] == json.loads(BODY)


@pytest.mark.parametrize("shape", ["csv", pytest.param("parquet", marks=needs_pyarrow)])
def test_columns_have_the_same_values(place: Path, shape: str) -> None:
    """Where there are columns, what is nested is JSON in a text, and all else is as in the lines."""
    lines, rows = exported(place, "lines", "ndjson"), exported(place, "file", shape)
    for line, row in zip(lines, rows, strict=True):
        assert json.loads(row["payload"]) == line["payload"]
        assert json.loads(row["meta"]) == line["meta"]
        assert (row["error"] or None, row["duplicate_of"] or None) == (line.get("error"), line.get("duplicate_of"))
        assert (row["result"] or "null") == json_text(line.get("result")).decode()
        received = row["received_at"] if shape == "csv" else rfc3339(round(row["received_at"].timestamp() * 1000))
        assert received == line["received_at"]


def test_no_cell_is_a_formula(place: Path, capsys: Capture) -> None:
    """A text that a spreadsheet would run has an apostrophe in front, in a table alone, whichever command writes it."""
    assert exported(place, "lines", "ndjson")[2]["inbound_event_id"] == "=a()"
    assert exported(place, "file", "csv")[2]["inbound_event_id"] == "'=a()"
    capsys.readouterr()
    assert tidegate(place, "events", "--event-id", "=a()", "--format", "csv") == 0
    [row] = csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))
    assert row["inbound_event_id"] == "'=a()"


def test_an_apostrophe_of_its_own_is_verified(place: Path, capsys: Capture) -> None:
    """An id that has an apostrophe before what would be a formula is the same one to verify: it was taken off, and the
    id compared as another."""
    with opened(place / "data") as (_, writer):
        writer.write(Group([Append(singles(10, ["'=a()"]), 1, EventStatus.DROPPED)]))
    assert exported(place, "file", "csv")[-1]["inbound_event_id"] == "''=a()"
    capsys.readouterr()
    assert tidegate(place, "verify", "--export", str(place / "file")) == 0


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        (("--source", "other"), [5]),
        (("--outcome", "processed,dead"), [1, 5]),
        (("--outcome", "pending"), [2, 3, 6, 8, 9]),
        (("--since", "2023-11-14T22:13:21Z"), [5]),
        (("--until", "2023-11-14T22:13:21Z"), [1, 2, 3, 4, 6, 7, 8, 9]),
        (("--id", "id-"), [8, 9]),
        (("--event-id", "a"), [1, 7]),
        (("--provider-id", "x"), [6]),
        (("--where", "payload.v=2"), [9]),
        (("--type", "nothing"), []),
        (("--after", "3", "--before", "6"), [4, 5]),
    ],
)
def test_conditions_are_those_of_events(
    place: Path, asked: tuple[str, ...], numbers: list[int], capsys: Capture
) -> None:
    """What is exported is what `tidegate events` lists, and verify knows what was asked."""
    assert [row["number"] for row in exported(place, "file", "ndjson", *asked)] == numbers
    assert tidegate(place, "verify", "--export", str(place / "file")) == 0
    capsys.readouterr()
    words = [asked[1]] if asked[0] == "--source" else asked
    assert tidegate(place, "events", "--all", "--oldest", "--format", "ndjson", *words) == 0
    assert [json.loads(line)["number"] for line in capsys.readouterr().out.splitlines()] == numbers


def test_increments_are_all_once(place: Path) -> None:
    """Each export goes on after the `through` of the one before: together they have all events, none twice."""
    found = [row["number"] for row in exported(place, "1", "ndjson", "--before", "6")]
    found += [row["number"] for row in exported(place, "2", "ndjson", "--after", str(manifest(place, "1")["through"]))]
    with opened(place / "data") as (_, writer):
        writer.write(Group([numbered(10, 3, body=b"[1,2,3]")]))
    found += [row["number"] for row in exported(place, "3", "ndjson", "--after", str(manifest(place, "2")["through"]))]
    assert exported(place, "4", "ndjson", "--after", str(manifest(place, "3")["through"])) == []
    assert found == list(range(1, 13))
    assert manifest(place, "4")["through"] == manifest(place, "3")["through"] == 12


def test_an_increment_behind_the_end_is_refused(place: Path, capsys: Capture) -> None:
    """A number that the store has not given yet is of another store, or of what came after the copy that this one is:
    the export was empty, and so was each one until the store got there."""
    assert exported(place, "1", "ndjson", "--after", "9") == []
    assert manifest(place, "1")["through"] == 9
    capsys.readouterr()
    assert tidegate(place, "export", str(place / "2.csv"), "--after", "10") == 2
    words = "--after 10 is beyond the end of the store, whose last event has the number 9"
    assert capsys.readouterr() == ("", f"tidegate: {words}: is it another store, or an older copy of the one before?\n")
    assert not (place / "2.csv").exists()


def test_finished_events_come_once_with_their_outcome(place: Path) -> None:
    """With --finished an export ends before the oldest pending event, of the source if one is said; the next goes on
    once that has its outcome."""
    assert [row["number"] for row in exported(place, "1", "ndjson", "--finished")] == [1]
    assert [row["number"] for row in exported(place, "o", "ndjson", "--finished", "--source", "other")] == [5]
    with opened(place / "data") as (_, writer):
        writer.write(Group([], [outcome(EventStatus.PROCESSED, [2, 3, 6])]))
    after = ("--finished", "--after", str(manifest(place, "1")["through"]))
    assert [row["number"] for row in exported(place, "2", "ndjson", *after)] == [2, 3, 4, 5, 6, 7]
    assert manifest(place, "2")["through"] == 7
    assert manifest(place, "o")["through"] == 9


def test_until_leaves_the_rest_for_later(place: Path) -> None:
    """What --until leaves out is behind `through`, so that the next increment has it, however the clock was set."""
    until = "2023-11-14T22:13:21Z"
    rows = exported(place, "1", "ndjson", "--until", until)
    assert [row["number"] for row in rows] == [1, 2, 3, 4, 6, 7, 8, 9]
    assert manifest(place, "1")["through"] == 4
    assert tidegate(place, "verify", "--export", str(place / "1")) == 0
    assert exported(place, "2", "ndjson", "--until", until, "--after", "4", "--before", "6") == []
    assert manifest(place, "2")["through"] == 4


def test_the_last_number_is_fixed(place: Path) -> None:
    """What comes while an export goes on is not in it."""
    with opened(place / "data") as (store, writer):
        reader = Reader(store)
        query = _until_now(reader, EventQuery(oldest_first=True), finished=False)
        writer.write(Group([numbered(10, 3)]))
        assert [each.number for each in reader.select(query).records] == list(range(1, 10))


class Pressed(Interruptible):
    """Ctrl-C, during the first page."""

    asked = 0

    @property
    def is_interrupted(self) -> bool:
        self.asked += 1
        return self.asked > 1


@pytest.mark.parametrize("shape", FORMATS)
def test_an_interrupted_export_is_whole(
    place: Path, shape: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Ctrl-C ends it with what it has: a file that verifies, and the number to go on from."""
    with opened(place / "data") as (_, writer):
        writer.write(Group([numbered(10, 900, body=json_text(list(range(900))))]))
    monkeypatch.setattr(export, "Interruptible", Pressed)
    assert tidegate(place, "export", str(place / "file"), "--format", shape) == 130
    said = manifest(place, "file")
    assert capsys.readouterr().err == f"tidegate: stopped: to go on, say --after {said['through']}\n"
    assert (said["complete"], said["count"]) == (False, said["through"])
    assert 9 < said["count"] < 909
    assert tidegate(place, "verify", "--export", str(place / "file")) == 0
    monkeypatch.undo()
    rest = exported(place, "rest", shape, "--after", str(said["through"]))
    assert [int(row["number"]) for row in rest] == list(range(said["count"] + 1, 910))


def test_the_manifest_of_stdout_is_on_stderr(place: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """With - the events are on stdout; the manifest is on stderr, or in the file that is named."""
    assert tidegate(place, "export", "-", "--format", "ndjson") == 0
    out, err = capfdbinary.readouterr()
    assert json.loads(err)["sha256"] == hashlib.sha256(out).hexdigest()
    assert tidegate(place, "export", "-", "--format", "ndjson", "--manifest", str(place / "m")) == 0
    again, err = capfdbinary.readouterr()
    assert (again, err) == (out, b"")
    (place / "file").write_bytes(again)
    assert tidegate(place, "verify", "--export", str(place / "file"), "--manifest", str(place / "m")) == 0


def test_files_are_private_and_never_replaced(place: Path, capsys: Capture) -> None:
    """File and manifest are 0600 under any umask, and one that is there stays as it is."""
    before = os.umask(0)
    try:
        exported(place, "file", "ndjson")
    finally:
        os.umask(before)
    assert [stat.S_IMODE((place / name).stat().st_mode) for name in ("file", "file.manifest.json")] == [0o600, 0o600]
    said = (place / "file").read_bytes(), (place / "file.manifest.json").read_bytes()
    capsys.readouterr()
    assert tidegate(place, "export", str(place / "file"), "--format", "csv") == 1
    assert capsys.readouterr().err == f"tidegate: {place / 'file'} is there already\n"
    assert ((place / "file").read_bytes(), (place / "file.manifest.json").read_bytes()) == said


def without_links(*_: object) -> None:
    raise OSError(1, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("name", ["file", "m", "file.manifest.json"])
def test_what_comes_meanwhile_is_never_replaced(
    place: Path, monkeypatch: pytest.MonkeyPatch, name: str, links: bool, capsys: Capture
) -> None:
    """What takes the name of the file or of its manifest while the export runs stays as it is, also where there are no
    hard links, and nothing else is left: the last step replaced it."""
    made, more = export._manifest, ["--manifest", str(place / "m")] if name == "m" else []
    before = sorted(each.name for each in place.iterdir())

    def late(*arguments: Any) -> dict[str, Any]:
        (place / name).write_text("precious")
        return made(*arguments)

    monkeypatch.setattr(export, "_manifest", late)
    if not links:
        monkeypatch.setattr(os, "link", without_links)
    assert tidegate(place, "export", str(place / "file"), "--format", "csv", *more) == 1
    words = f"tidegate: {place / name} came while the export was made, and stays as it is: name another file\n"
    assert capsys.readouterr() == ("", words)
    assert (place / name).read_text() == "precious"
    assert sorted(each.name for each in place.iterdir()) == sorted([*before, name])


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_name_taken_last_is_kept(place: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """What takes the name of the file once the manifest has its own stays too, and the manifest goes."""
    before, real = sorted(each.name for each in place.iterdir()), os.link

    def late(other: Path, file: Path) -> None:
        if file == place / "file":
            assert (place / "file.manifest.json").exists()
            file.write_text("precious")
        (real if links else without_links)(other, file)

    monkeypatch.setattr(os, "link", late)
    assert tidegate(place, "export", str(place / "file"), "--format", "csv") == 1
    assert (place / "file").read_text() == "precious"
    assert sorted(each.name for each in place.iterdir()) == sorted([*before, "file"])


def test_exports_work_without_hard_links(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that has none the file gets its name as well."""
    monkeypatch.setattr(os, "link", without_links)
    exported(place, "file", "ndjson")
    assert tidegate(place, "verify", "--export", str(place / "file")) == 0
    assert not list(place.glob("*.unfinished"))


def test_a_manifest_without_its_file_is_replaced(place: Path) -> None:
    """What an export whose file is gone has left beside it is no reason to refuse the next one."""
    (place / "file.manifest.json").write_text("old")
    exported(place, "file", "ndjson")
    assert tidegate(place, "verify", "--export", str(place / "file")) == 0
    assert not list(place.glob("*.unfinished"))


def test_a_finished_file_is_never_emptied(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """An export that has opened the unfinished file of another one, and locks it when that one has ended, is refused:
    it emptied the finished file."""
    before, real = sorted(each.name for each in place.iterdir()), fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        (place / "file.unfinished").write_text("of another one")
        (place / "file.unfinished").rename(place / "file")
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert tidegate(place, "export", str(place / "file"), "--format", "csv") == 1
    assert f"{place / 'file'} came while the export was made, and stays as it is" in capsys.readouterr().err
    assert (place / "file").read_text() == "of another one"
    assert sorted(each.name for each in place.iterdir()) == sorted([*before, "file"])


def test_a_file_with_two_names_stays_whole(place: Path) -> None:
    """Killed between its two names a finished file has both: moved away, it is not emptied by the next export."""
    exported(place, "file", "ndjson")
    before = (place / "file").read_bytes()
    (place / "file").rename(place / "moved")
    (place / "file.unfinished").hardlink_to(place / "moved")
    exported(place, "file", "csv")
    assert (place / "moved").read_bytes() == before
    assert not list(place.glob("*.unfinished"))


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("file.csv", "is the file of the events: name another one"),
        ("data/../file.csv", "is the file of the events: name another one"),
        ("file.csv.unfinished", "is where the events are written before they have their name: name another one"),
    ],
)
def test_a_manifest_needs_a_name_of_its_own(place: Path, manifest: str, words: str, capsys: Capture) -> None:
    """A manifest in the place of the events is refused in words: it was another process that wrote the file, or the
    manifest was the export."""
    before = sorted(each.name for each in place.iterdir())
    assert tidegate(place, "export", str(place / "file.csv"), "--manifest", str(place / manifest)) == 2
    assert capsys.readouterr() == ("", f"tidegate: --manifest {place / manifest} {words}\n")
    assert sorted(each.name for each in place.iterdir()) == before


@pytest.mark.parametrize("shape", FORMATS)
def test_the_ending_says_the_format(place: Path, shape: str, capsys: Capture) -> None:
    """Without `--format` the file's ending says it; one that says none is a mistake."""
    assert tidegate(place, "export", str(place / f"some.{shape}")) == 0
    assert json.loads(capsys.readouterr().out)["format"] == shape
    assert tidegate(place, "export", str(place / "some.xlsx")) == 2
    assert "--format is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "code", "words"), [(".", 2, ". is a directory: name the file in it"), ("gone/x", 1, "no directory gone")]
)
def test_a_file_that_cannot_be_made(place: Path, file: str, code: int, words: str, capsys: Capture) -> None:
    """A path that names no file, or one in no directory, is named in one line."""
    assert tidegate(place, "export", file, "--format", "csv") == code
    assert words in capsys.readouterr().err


def test_a_failed_export_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """A disk that is full ends it with an error, and neither file nor manifest."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = sorted(each.name for each in place.iterdir())
    assert tidegate(place, "export", str(place / "file"), "--format", "ndjson") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert sorted(each.name for each in place.iterdir()) == before


def test_a_killed_export_has_no_name(place: Path) -> None:
    """Whenever it is killed, the file is not there or is as its manifest says; and run again it is made."""
    kills, file = 0, place / "file"
    for number in (1, 10, 40, 80, 120, 160, 10**6):
        target = ["server.cli.export:_export", str(number), "export", "--config", str(place / "tidegate.toml")]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tests.support.killed", *target, str(file), "--format", "ndjson"],
            capture_output=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            timeout=HANG_SECONDS,
            check=False,
        )
        kills += done.returncode == -signal.SIGKILL
        if file.exists():
            assert tidegate(place, "verify", "--export", str(file)) == 0
            file.unlink()
    assert kills > 2
    assert done.returncode == 0


def test_parquet_names_its_extra(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Without pyarrow the other formats go on, and parquet says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "server.cli.export_parquet", raising=False)
    monkeypatch.delattr(server.cli, "export_parquet", raising=False)
    exported(place, "file", "ndjson")
    capsys.readouterr()
    assert tidegate(place, "export", str(place / "table"), "--format", "parquet") == 2
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert f"{sys.executable} -m pip install '{extras['parquet'][0]}'" in capsys.readouterr().err
    assert not (place / "table").exists()
    assert not (place / "table.unfinished").exists()


def test_the_script_for_cron_makes_increments(place: Path, tmp_path: Path) -> None:
    """The script of the page, run again and again, exports each event once, when it has its outcome."""
    text = (ROOT / "docs" / "operations.md").read_text().split("## Exports by cron")[1].split("```sh\n")[1]
    directory, command = tmp_path / "exports", tmp_path / "bin" / "tidegate"
    for each in (directory, command.parent):
        each.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m server "$@"\n')
    command.chmod(0o755)
    script = text.split("```")[0].replace("/var/lib/tidegate-exports", str(directory)).replace("%SZ", "%S.%NZ")
    found = []
    for finished in ([], [2, 3], [], [6, 8, 9]):
        with opened(place / "data") as (_, writer):
            writer.write(Group([], [outcome(EventStatus.PROCESSED, finished)] if finished else []))
        environment = {"PYTHONPATH": str(ROOT), "TIDEGATE_CONFIG": str(place / "tidegate.toml")}
        environment |= {"PATH": f"{command.parent}:{os.environ['PATH']}"}
        subprocess.run(["sh", "-c", script], env=environment, check=True, timeout=HANG_SECONDS)
        newest = max(directory.glob("*.ndjson.zst"), key=lambda file: file.stat().st_mtime_ns)
        found.append([row["number"] for row in read(newest, "ndjson.zst")])
    assert found == [[1], [2, 3, 4, 5], [], [6, 7, 8, 9]]
