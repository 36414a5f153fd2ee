"""A store that format 1 wrote, converted: it says what its own version said, and a server goes on with it."""

import errno
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import lmdb
import numpy
import pytest

from server.base.json_text import json_text
from server.cli.main import main
from server.observe import receipts
from storage import store_time
from storage.codec.records import seal
from storage.codec.status_rows import is_pending
from storage.errors import StoreMissing
from storage.lmdb_store import disk, lock
from storage.lmdb_store.environment import Store
from storage.migrate import convert, records
from storage.migrate.format_1 import OldStore
from storage.read.reader import Reader
from storage.read.snapshot import Snapshots
from storage.store_time import HostTime
from tests.support.config import source
from tests.support.format_1 import old_answers, old_store
from tests.support.server import ROOT, Children
from tests.support.waiting import HANG_SECONDS, eventually

CONVERTS = "`tidegate migrate --config FILE` converts it"
KEPT = ["data.mdb.format-1", "journal.format-1"]


def tidegate(directory: Path, *arguments: str) -> int:
    """A command with that configuration, in this process."""
    name, *rest = arguments
    return main([name, "--config", str(directory / "tidegate.toml"), *rest])


def files(path: Path) -> dict[str, bytes]:
    """All but `lock.mdb`, which every reader makes."""
    return {each.name: each.read_bytes() for each in path.iterdir() if each.name != "lock.mdb"}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of one that was converted; to be read only."""
    directory = tmp_path_factory.mktemp("converted")
    old_store(directory)
    assert tidegate(directory, "migrate") == 0
    return directory


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """What was said on stderr since it was asked last."""
    return lambda: [line.removeprefix("tidegate: ") for line in capsys.readouterr().err.splitlines()]


def answer(reader: Reader, name: str, *arguments: str) -> tuple[object, str]:
    """What the command says as JSON, and its words."""
    if name == "event":
        try:
            return receipts.event(reader, arguments[0], arguments[2]), ""
        except receipts.BodyNotKept as error:
            return None, f"tidegate: {error}\n"
    if name == "receipt":
        return list(receipts.receipts(reader, arguments[1], arguments[3])), ""
    if name == "delivery":
        return receipts.delivery(reader, arguments[0]), ""
    return list(receipts.dead(reader, None)), ""


def test_answers_are_what_the_old_version_said(converted: Path) -> None:
    """Every event, receipt and delivery, and the list of the dead, are what the version that wrote them said, but for
    why an event waits, of which it said nothing."""
    with closing(Store.open(converted / "data", mode="read")) as store:
        reader = Reader(store)
        for (name, *arguments), _, stdout, stderr in old_answers()[:-1]:
            found, words = answer(reader, name, *arguments)
            text = f"[{','.join(stdout.splitlines())}]" if name == "dead" else stdout or "null"
            said = json.loads(json_text(found), object_hook=lambda each: each | {"reason": None})
            before = json.loads(text, object_hook=lambda each: each | {"reason": None})
            assert (said, words) == (before, stderr), (name, arguments)


def test_verify_counts_what_the_old_version_counted(converted: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The whole store is right, and holds as many events, deliveries and blocks, with the same accounts; none left."""
    assert tidegate(converted, "verify") == 0
    arguments, _, stdout, _ = old_answers()[-1]
    assert arguments == ["verify"]
    said, before = json.loads(capfdbinary.readouterr().out), json.loads(stdout)
    for source_id, counts in before["sources"].items():
        later = ("replayed", "discarded", "expired")
        counts |= {name: 0 for name in said["sources"][source_id] if name.startswith(later)}
    assert said == before | {"erasure_since": None}


def test_old_file_stays_until_it_is_discarded(tmp_path: Path, lines: Callable[[], list[str]]) -> None:
    """The old file and the journal stay beside the new one, private, until --discard-old; twice does nothing."""
    path = old_store(tmp_path)
    before = files(path)
    assert tidegate(tmp_path, "migrate", "--discard-old") == 2
    assert lines() == [
        f"the store has the format 'tidegate store 1', this version reads 'tidegate store 2'; {CONVERTS}"
    ]
    assert (tidegate(tmp_path, "migrate"), set(files(path))) == (0, {*KEPT, "data.mdb", "writer.lock"})
    kept = "kept of the older format: data.mdb.format-1 (168 KiB), journal.format-1 (4 MiB); "
    kept += "`tidegate migrate --discard-old` removes it"
    done = f"the store in {path} has the format of this version now: 1,449 events, 21 of them from its journal"
    assert lines() == ["converting ...", "verifying ...", done, kept]
    assert {each.name: each.stat().st_mode & 0o777 for each in path.iterdir()} == dict.fromkeys(files(path), 0o600)
    assert [files(path)[name] for name in KEPT] == [before["data.mdb"], before["journal"]]
    others = {"data.mdb.format-1.mine": b"", "notes.format-1": b"", "data.mdb.format-9": b""}
    for name, content in others.items():
        (path / name).write_bytes(content)
    after = files(path)
    assert (tidegate(tmp_path, "migrate"), files(path)) == (0, after)
    assert lines() == [f"the store in {path} has the format of this version: nothing to do", kept]
    assert tidegate(tmp_path, "migrate", "--discard-old") == 0
    assert lines() == ["removed: data.mdb.format-1 (168 KiB), journal.format-1 (4 MiB)"]
    assert files(path).keys() == {"data.mdb", "writer.lock", *others}
    assert tidegate(tmp_path, "migrate", "--discard-old") == 0
    assert lines() == ["nothing was kept of an older format"]


def test_a_server_goes_on_with_it(children: Children) -> None:
    """What was processed is a duplicate when it comes again, what waited is processed, what was held stays held."""
    sections = (
        source("hooks", processor="processors:plain")
        + source("segment", type="segment", processor="processors:plain")
        + source("held", rate_limit_events_per_second=0.001)
        + source("stuck", processor="processors:plain")
        + source("retried", processor="processors:silent")
    )
    child = children(sections)
    old_store(child.directory)
    child.write(sections)
    assert child.cli("migrate").returncode == 0
    with child:
        assert child.post("hooks", [{"inbound_event_id": "plain"}, {"inbound_event_id": "many-7"}]).status == 200
        waiting = ("hooks", "segment", "stuck", "retried")
        eventually(
            lambda: (
                not any(each["pending"] for each in child.admin("/sources").json["sources"] if each["id"] in waiting)
            )
        )
        assert child.stop() == 0
    assert tidegate(child.directory, "verify") == 0
    with closing(Store.open(child.store, mode="read")) as store:
        reader = Reader(store)
        for event_id in ("plain", "many-7"):
            newest, *_, oldest = receipts.receipts(reader, "hooks", event_id)
            assert (newest["outcome"], newest["duplicate_of"]) == ("duplicate", oldest["delivery"])
        for source_id, event_id in (
            ("hooks", "only-journal"),
            ("stuck", "stuck-4"),
            ("retried", "waits-for-its-retry"),
        ):
            (found,) = receipts.receipts(reader, source_id, event_id)
            assert found["outcome"] == "processed"
        (found,) = receipts.receipts(reader, "held", "held-5")
        assert found["deferred"]


@pytest.mark.parametrize("command", ["serve", "verify", "dead", "receipt hooks plain", "requeue hooks --all"])
def test_an_old_store_is_left_to_migrate(tmp_path: Path, command: str) -> None:
    """Whatever opens an old store exits 2, names the command and changes nothing."""
    path = old_store(tmp_path)
    (tmp_path / "work.py").write_text("def plain(events): ...\npausing = plain\n")
    before = files(path)
    name, *rest = command.split()
    run = [sys.executable, "-m", "server", name, "--config", str(tmp_path / "tidegate.toml"), *rest]
    done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, timeout=HANG_SECONDS, check=False)
    assert (done.returncode, done.stdout, done.stderr.endswith(f"; {CONVERTS}\n")) == (2, "", True)
    assert files(path) == before


def test_a_missing_file_is_no_new_store(tmp_path: Path) -> None:
    """If only what was kept is there, nothing makes an empty store; with its names taken back it is converted again."""
    path = old_store(tmp_path)
    assert tidegate(tmp_path, "migrate") == 0
    (path / "data.mdb").unlink()
    for mode in ("write", "read"):
        with pytest.raises(StoreMissing, match=r"put it back, or take \.format-N off"):
            Store.open(path, map_size_bytes=2**24, mode=mode)
    assert tidegate(tmp_path, "migrate") == 1
    for name in KEPT:
        (path / name).rename(path / name.removesuffix(".format-1"))
    assert convert.migrate(path, 2**24, lambda *_: None) == convert.Migrated(1449, 21)


def test_too_little_disk_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: Callable[[], list[str]]
) -> None:
    """Where the disk has no room for a second store, it is said how much that takes, and nothing changes."""
    path = old_store(tmp_path)
    before = files(path)
    monkeypatch.setattr(disk, "free_bytes", lambda path: 3 * 2**20)
    assert (tidegate(tmp_path, "migrate"), files(path)) == (1, before)
    assert lines() == [
        f"the store was not converted: converting takes 33 MiB of the disk of {path}, where 3 MiB are free",
        "nothing was changed",
    ]


@pytest.mark.parametrize("kib", [40, 300])
def test_a_disk_that_fills_up_leaves_the_old(tmp_path: Path, kib: int) -> None:
    """What can be written no more ends it in words, and all is as before; with room again it is converted."""
    path = old_store(tmp_path)
    before = files(path)
    done = subprocess.run(
        [sys.executable, "-m", "server", "migrate", "--config", str(tmp_path / "tidegate.toml")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (kib * 1024,) * 2),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(r"the store was not converted: .*\n.*nothing was changed\n$", done.stderr)
    assert files(path) == before
    assert tidegate(tmp_path, "migrate") == 0


def test_no_hard_links_are_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: Callable[[], list[str]]
) -> None:
    """Where a file cannot have two names nothing is begun."""
    path = old_store(tmp_path)
    before = files(path)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert (tidegate(tmp_path, "migrate"), files(path)) == (1, before)
    assert lines() == [
        f"the store was not converted: the old file cannot be kept as {path / KEPT[0]}: Operation not permitted; it "
        "takes a file system with hard links",
        "nothing was changed",
    ]


def test_a_running_server_is_left_alone(tmp_path: Path, lines: Callable[[], list[str]]) -> None:
    """While another process has the lock of the writer nothing is done."""
    path = old_store(tmp_path)
    before = files(path)
    held = lock.take(path, 0)
    try:
        assert (tidegate(tmp_path, "migrate"), files(path)) == (1, before)
        assert lines() == [f"another process writes to the store in {path}: stop it first"]
    finally:
        os.close(held)


def test_no_store_is_made(tmp_path: Path, lines: Callable[[], list[str]]) -> None:
    """Where there is no store it says so, and makes nothing."""
    (tmp_path / "tidegate.toml").write_text("")
    assert tidegate(tmp_path, "migrate") == tidegate(tmp_path, "migrate", "--discard-old") == 1
    assert lines() == [f"there is no store in {tmp_path / 'data'}"] * 2
    assert not (tmp_path / "data").exists()


def test_a_damaged_store_is_not_converted(tmp_path: Path, lines: Callable[[], list[str]]) -> None:
    """A record that does not say what was written ends it, with the place, and nothing changes."""
    path = old_store(tmp_path)
    with lmdb.open(str(path), readonly=True, lock=False, max_dbs=5) as env, env.begin(db=env.open_db(b"log")) as txn:
        (key, value), *_ = txn.cursor()
    assert key == b"\0" * 7 + b"\1"
    data = (path / "data.mdb").read_bytes()
    (path / "data.mdb").write_bytes(data.replace(value, value[:-1] + bytes([value[-1] ^ 1])))
    before = files(path)
    assert (tidegate(tmp_path, "migrate"), files(path)) == (1, before)
    said = lines()
    assert said[-2].startswith("the store is damaged: log, key 1: ")
    assert said[-1] == "nothing was changed; `tidegate verify` of the version that wrote it says more"


@pytest.mark.parametrize("page", [10, 11, 21, 40])
def test_a_damaged_page_is_said_in_words(tmp_path: Path, lines: Callable[[], list[str]], page: int) -> None:
    """Whatever LMDB makes of a page that was overwritten, its assertions included: a line, and nothing changes."""
    path = old_store(tmp_path)
    with (path / "data.mdb").open("r+b") as data:
        data.seek(page * 4096)
        data.write(bytes(4096))
    before = files(path)
    assert (tidegate(tmp_path, "migrate"), files(path)) == (1, before)
    assert lines()[-1].startswith("nothing was changed")


def test_a_symbolic_link_is_not_converted(tmp_path: Path, lines: Callable[[], list[str]]) -> None:
    """It would be kept in place of the file, which nobody would remove then."""
    path = old_store(tmp_path)
    (path / "data.mdb").rename(tmp_path / "elsewhere.mdb")
    (path / "data.mdb").symlink_to(tmp_path / "elsewhere.mdb")
    assert tidegate(tmp_path, "migrate") == 1
    assert "data.mdb is a symbolic link" in lines()[-2]
    assert not (path / KEPT[0]).exists()


def test_another_kept_file_is_not_overwritten(tmp_path: Path, lines: Callable[[], list[str]]) -> None:
    """A file of the name that the old one would get, which is another, stays."""
    path = old_store(tmp_path)
    (path / KEPT[0]).write_bytes(b"another")
    assert tidegate(tmp_path, "migrate") == 1
    assert f"{path / KEPT[0]} is there already" in lines()[-2]
    assert (path / KEPT[0]).read_bytes() == b"another"


def test_a_reader_is_waited_for(tmp_path: Path) -> None:
    """While a command has the old file open the new one does not take its place."""
    path = old_store(tmp_path)
    reading = "import lmdb, sys; env = lmdb.open(sys.argv[1], readonly=True); print(flush=True); sys.stdin.read()"
    reader = subprocess.Popen([sys.executable, "-c", reading, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert reader.stdin
    assert reader.stdout
    assert reader.stdout.readline() == b"\n"
    steps: list[str] = []

    def hear(step: str, done: int, total: int) -> None:
        steps.append(step)
        if step == convert.WAITING:
            assert convert.is_old(path)
            reader.communicate()

    convert.migrate(path, 2**24, hear)
    assert list(dict.fromkeys(steps)) == [convert.CONVERTING, convert.VERIFYING, convert.WAITING]
    assert (reader.wait(), convert.is_old(path)) == (0, False)


def test_an_empty_store_is_converted(tmp_path: Path) -> None:
    """A store in which nothing ever came is one of the present format afterwards, and keeps its identity."""
    path = tmp_path / "data"
    path.mkdir()
    with lmdb.open(str(path), max_dbs=5) as env, env.begin(write=True) as txn:
        meta, *_ = (env.open_db(name, txn=txn) for name in (b"meta", b"log", b"ids", b"fates", b"results"))
        for key, value in ((b"format", b"tidegate store 1"), (b"identity", b"12345678")):
            txn.put(key, seal(b"meta", key, value), db=meta)
    assert convert.migrate(path, 2**24, lambda *_: None) == convert.Migrated(0, 0)
    with closing(Store.open(path, mode="read")) as store, Snapshots(store).take() as snapshot:
        assert (store.identity, snapshot.end, snapshot.store_time()) == (b"12345678", 1, None)
    assert [each.name for each in convert.kept_files(path)] == KEPT[:1]


def test_store_time_goes_on_from_outcomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcomes, and what is pending since its receipt, have the wall clock's time for the store's, but none lies in the
    future."""
    path = old_store(tmp_path)
    with closing(OldStore(path)) as old:
        times = numpy.concatenate([rows["at_ms"] for _, rows in old.statuses()])
    now_ms = int(numpy.median(times[times > 0]))
    host = HostTime(now_ms, 0, store_time.UNKNOWN_BOOT)
    monkeypatch.setattr(records, "host_time", lambda boot: host)
    (path / "journal").unlink()
    convert.migrate(path, 2**24, lambda *_: None)
    with closing(Store.open(path, mode="read")) as store, Snapshots(store).take() as snapshot:
        rows = numpy.concatenate([block.rows for block in snapshot.blocks(1)])
        received = [
            store_time.to_the_minute(head.received_at_ms)
            for number in numpy.flatnonzero(is_pending(rows["status"])) + 1
            if (head := snapshot.head_of(int(number)))
        ]
        assert snapshot.store_time() == store_time.StoreTime(now_ms, host)
    assert rows["at_ms"].tolist() == times.tolist()
    waits = is_pending(rows["status"])
    assert rows["store_ms"][~waits].tolist() == numpy.minimum(times[~waits], now_ms).tolist()
    assert waits.any()
    assert rows["store_ms"][waits].tolist() == [min(each, now_ms) for each in received]
