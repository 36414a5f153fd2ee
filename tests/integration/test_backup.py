"""A backup is the store at one moment, whatever its server does meanwhile; put in place, a server goes on with it."""

import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from server.base.json_text import json_text
from storage.backup import backup, walk
from storage.backup.backup import COPYING, VERIFYING, Backup, back_up, make_copy
from storage.backup.settle import OF_NUMBERS
from storage.backup.unfinished import MARK, Unfinished
from storage.check.verify import verify
from storage.errors import StoreDamaged, StoreError, StoreFull, StoreLocked
from storage.journal.journal import Journal
from storage.lmdb_store import disk
from storage.lmdb_store.environment import Store
from storage.lmdb_store.making import DATABASES
from storage.model import Append, EventRecord, Group
from storage.read.query import EventQuery
from storage.read.reader import Reader
from storage.retain.planner import Planner
from storage.retain.policy import Retention
from storage.statuses import EventStatus, Totals
from storage.write import transaction
from storage.write.writer import Writer
from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import pending
from tests.support.server import ROOT, Child, Children
from tests.support.store import STORE_MS, delivery, filled, numbered, opened, outcome, singles
from tests.support.waiting import HANG_SECONDS, eventually

FAR_MS = STORE_MS + (1 << 40)
"""When nothing is young."""


def quiet(_step: str, _done: int, _total: int) -> None:
    """Nobody is told how far it is."""


def records(store: Store) -> dict[int, EventRecord]:
    """All events of a store, by number."""
    reader, found = Reader(store), dict[int, EventRecord]()
    query: EventQuery | None = EventQuery(oldest_first=True)
    while query is not None:
        page = reader.select(query, bodies=True)
        found |= {each.number: each for each in page.records}
        query = page.following
    return found


def told(record: EventRecord) -> tuple[object, ...]:
    """What the store has of an event; details leave with bodies."""
    has_left = record.left_at_ms > 0
    detail = None if has_left else record.detail
    event = record.numbered.event_id(record.position), record.numbered.deliveries.bodies
    return record.status, record.attempts, record.at_ms, detail, has_left, event


def contents(path: Path) -> tuple[dict[int, tuple[object, ...]], dict[str, Totals]]:
    store = Store.open(path, mode="read")
    try:
        return {number: told(each) for number, each in records(store).items()}, Reader(store).totals()
    finally:
        store.close()


def some_groups() -> list[Group]:
    """Of every status, over two sources, with details and bodies of some size."""
    first = [Append(delivery(1, ["a", "b", "a", None], body=json_text(["x" * 900] * 4)), 4, EventStatus.DROPPED)]
    more = [numbered(5, 3, source_id="other"), Append(singles(8, ["x", "y"]), 0, EventStatus.DEFERRED)]
    return [
        Group(first),
        Group(more),
        Group([], [outcome(EventStatus.PROCESSED, [1], details={1: b'{"result":[1,2]}'})]),
        Group([], [outcome(EventStatus.DUPLICATE, [3], originals=[1]), outcome(EventStatus.DROPPED, [4])]),
        Group([], [outcome(EventStatus.DEAD, [6], source_id="other", details={6: b'{"error":"no"}'})]),
    ]


class Life:
    """What a server does to its store, at random: a step at a time."""

    def __init__(self, store: Store, writer: Writer, random: Random, policy: Retention | None = None) -> None:
        self._random = random
        self._writer = writer
        self._reader = Reader(store)
        self._planner = Planner(store, calls_max=7)
        self._policy = policy
        self._waiting: list[int] = []
        self._dead: list[int] = []
        self._same: list[int] = []
        """Events of one id, of which one is processed before the others."""
        self._original = 0

    def step(self) -> None:
        random, writer = self._random, self._writer
        count, body = random.choice((1, 1, 3, 20)), json_text(random.randbytes(random.choice((5, 30, 1500))).hex())
        first = writer.next_number
        again = Append(delivery(first + count, ["same"]), 1, EventStatus.DROPPED)
        writer.write(Group([numbered(first, count, body=body), again]))
        self._waiting += range(first, first + count)
        self._same.append(first + count)
        for _ in range(random.randrange(3)):
            self._end_some()
        if random.random() < 0.5:
            self._end_the_same()
        if self._dead and random.random() < 0.3:
            back = [self._dead.pop(random.randrange(len(self._dead)))]
            if back == self._reader.dead_numbers("demo", back[0] - 1, 1)[:1]:  # else it has left
                becomes = random.choice((EventStatus.PENDING, EventStatus.DISCARDED))
                writer.write(Group([], [outcome(becomes, back)]))
                self._waiting += back if becomes is EventStatus.PENDING else []
        if self._policy is not None:
            writer.write(Group(removal=self._planner.plan(self._policy, FAR_MS)))

    def _end_some(self) -> None:
        random = self._random
        random.shuffle(self._waiting)
        mine, self._waiting = sorted(self._waiting[:8]), self._waiting[8:]
        if mine and random.random() < 0.3:
            details = dict.fromkeys(mine, b'{"error":"no"}')
            self._writer.write(Group([], [outcome(EventStatus.DEAD, mine, details=details)]))
            self._dead += mine
        elif mine:
            details = {number: b'{"result":1}' for number in mine if random.random() < 0.5}
            self._writer.write(Group([], [outcome(EventStatus.PROCESSED, mine, details=details)]))

    def _end_the_same(self) -> None:
        if not self._original:
            self._original = self._same.pop(self._random.randrange(len(self._same)))
            self._writer.write(Group([], [outcome(EventStatus.PROCESSED, [self._original])]))
        elif self._same:
            originals = [self._original] * len(self._same)
            self._writer.write(Group([], [outcome(EventStatus.DUPLICATE, self._same, originals=originals)]))
            self._same = []


def copied_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, policy: Retention | None
) -> tuple[dict[int, tuple[object, ...]], dict[str, Totals], Backup]:
    """A copy made in the smallest steps, while the store lives on between them; what the store was at its moment."""
    monkeypatch.setattr(walk, "STEP_RECORDS_MAX", 3)
    monkeypatch.setattr(backup, "COMMIT_BYTES", 4000)
    monkeypatch.setattr(backup, "TAIL_BYTES_MAX", 20)
    monkeypatch.setattr(backup, "ROUNDS_MAX", 4)
    monkeypatch.setattr(transaction, "BLOCK_EVENTS_MIN", 12)
    random = Random(seed)
    with opened(tmp_path / "store") as (store, writer):
        life = Life(store, writer, random, policy)
        for _ in range(40):
            life.step()
        steps = 0

        def live_on(step: str, _done: int, _total: int) -> None:
            nonlocal steps
            if step == COPYING and steps < 80:
                steps += 1
                life.step()

        made = make_copy(store, tmp_path / "copy", live_on)
        assert steps > 10
        return {number: told(each) for number, each in records(store).items()}, writer.totals, made


@pytest.mark.parametrize("seed", range(3))
def test_a_copy_is_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """While the store lives on between any two of its reads, the copy has all events as they were after the last."""
    events, totals, made = copied_meanwhile(tmp_path, monkeypatch, seed, None)
    assert contents(tmp_path / "copy") == (events, totals)
    assert made.last_number == max(events)
    assert made.report.events == len(events)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "policy",
    [Retention(archive_ms=1, receipt_ms=1), Retention(archive_ms=1, receipt_ms=1, dead_ms=1), Retention(archive_ms=1)],
    ids=["all", "the dead too", "bodies"],
)
def test_a_copy_beside_retention_adds_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, policy: Retention
) -> None:
    """What leaves the store between two reads may be in the copy or not: its accounts say which, and add up; what is in
    the store is in the copy as it is."""
    events, totals, _ = copied_meanwhile(tmp_path, monkeypatch, seed, policy)
    copied, accounts = contents(tmp_path / "copy")
    assert verify(tmp_path / "copy").problems == []
    assert events.keys() <= copied.keys()
    for number, event in events.items():
        status, *_, has_left, _ = event
        assert copied[number][0] == status
        assert has_left or copied[number] == event
    for name in ("received", "requeued", "processed", "duplicate", "dropped", "dead", "pending", "deferred_now"):
        assert getattr(accounts["demo"], name) == getattr(totals["demo"], name)
    assert accounts["demo"].receipts_left <= totals["demo"].receipts_left


def test_no_reader_is_held_between_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the copy is written no transaction of the store is open, and none reads more than its share."""
    monkeypatch.setattr(walk, "STEP_BYTES_MAX", 5000)
    with opened(tmp_path / "store") as (store, writer):
        for number in range(1, 101):
            writer.write(Group([numbered(number, 1, body=Random(number).randbytes(1000))]))
        open_ones = []
        made = make_copy(store, tmp_path / "copy", lambda *_: open_ones.append(store._transactions._open))
    assert set(open_ones) == {0}
    assert made.reads > 20


def test_a_backup_has_everything_and_is_private(tmp_path: Path) -> None:
    """Of a stopped store: every event, count and mark; the modes are 0700 and 0600 under any umask, and the name comes
    at the end."""
    filled(tmp_path / "store", some_groups())
    before = os.umask(0)
    try:
        made = back_up(tmp_path / "store", tmp_path / "copy", quiet)
    finally:
        os.umask(before)
    assert contents(tmp_path / "copy") == contents(tmp_path / "store")
    assert (made.last_number, made.report.problems, made.recovered) == (9, [], 0)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "copy").iterdir()}
    assert modes == dict.fromkeys(("data.mdb", "lock.mdb", "writer.lock"), 0o600)
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o700
    assert not (tmp_path / "copy.unfinished").exists()


def test_an_empty_store_can_be_copied(tmp_path: Path) -> None:
    """A store without events has a backup without events, in an empty directory that was made for it."""
    filled(tmp_path / "store", [])
    (tmp_path / "copy").mkdir()
    assert back_up(tmp_path / "store", tmp_path / "copy", quiet).last_number == 0
    assert verify(tmp_path / "copy").ok


def test_every_database_is_copied() -> None:
    """There is none that a backup does not know; the look-up index alone is left out, as it follows from all else."""
    assert {*DATABASES} == {"meta", "results", "index", *OF_NUMBERS}


def test_a_backup_into_this_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory can be named as one."""
    filled(tmp_path / "store", some_groups())
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    assert back_up(tmp_path / "store", Path(), quiet).report.events == 9
    assert verify(tmp_path / "copy").events == 9


def test_what_only_the_journal_has_is_copied(tmp_path: Path) -> None:
    """What was acknowledged and is not in the store yet is in the backup; store and journal stay as they are."""
    with opened(tmp_path / "store") as (store, writer):
        writer.write(Group([numbered(1, 2)]))
        journal = Journal(store)
        assert journal.append([numbered(3, 4)])
        assert journal.append([numbered(7, 1)])
        journal.close()
    before = {name: (tmp_path / "store" / name).read_bytes() for name in ("data.mdb", "journal", "writer.lock")}
    made = back_up(tmp_path / "store", tmp_path / "copy", quiet)
    assert (made.recovered, made.last_number, made.report.events) == (5, 7, 7)
    assert {name: (tmp_path / "store" / name).read_bytes() for name in before} == before
    with opened(tmp_path / "store"):
        pass  # a start takes the journal in
    assert contents(tmp_path / "copy") == contents(tmp_path / "store")


def test_a_backup_that_lost_its_end_is_refused(tmp_path: Path) -> None:
    """A backup knows how far it is: an older data.mdb in its place is found."""
    filled(tmp_path / "store", some_groups()[:1])
    back_up(tmp_path / "store", tmp_path / "older", quiet)
    with opened(tmp_path / "store") as (_, writer):
        for group in some_groups()[1:]:
            writer.write(group)
    back_up(tmp_path / "store", tmp_path / "copy", quiet)
    shutil.copy(tmp_path / "older" / "data.mdb", tmp_path / "copy" / "data.mdb")
    assert any("older than what was written last" in each for each in verify(tmp_path / "copy").problems)


NOT_OURS = (
    r"/copy\.unfinished until .* is not what a killed backup of this version leaves: move it away, or name another"
)


def occupied(path: Path) -> None:
    path.mkdir()
    (path / "something").touch()


def marked(path: Path) -> None:
    occupied(path)
    (path / MARK).touch()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (occupied, "is there already, and is no empty directory"),
        (Path.touch, "is there already, and is no empty directory"),
        (lambda path: path.symlink_to("nowhere"), "is there already, and is no empty directory"),
        (lambda path: occupied(path.with_name("copy.unfinished")), NOT_OURS),
        (lambda path: path.with_name("copy.unfinished").touch(), NOT_OURS),
        (lambda path: path.with_name("copy.unfinished").symlink_to("store"), "the store that it is of is there"),
        (lambda path: path.with_name("copy.unfinished").symlink_to("nowhere"), NOT_OURS),
        (lambda path: filled(path.with_name("copy.unfinished"), some_groups()), NOT_OURS),
        (lambda path: marked(path.with_name("copy.unfinished")), NOT_OURS),
    ],
    ids=[
        "not empty",
        "a file",
        "a dangling link",
        "something of that other name",
        "a file of that other name",
        "a link of that other name",
        "a dangling link of that other name",
        "a store of that other name",
        "the mark and more",
    ],
)
def test_nothing_is_written_over(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    """Where something is already nothing is made, and it stays as it is."""
    filled(tmp_path / "store", some_groups())
    make(tmp_path / "copy")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match=words):
        back_up(tmp_path / "store", tmp_path / "copy", quiet)
    assert set(tmp_path.rglob("*")) - set(before) <= {tmp_path / "store" / "lock.mdb"}


def test_a_backup_is_not_made_in_its_store(tmp_path: Path) -> None:
    """Nor below it; and the directory above it has to be there."""
    filled(tmp_path / "store", [])
    with pytest.raises(StoreError, match="is in the directory of the store"):
        back_up(tmp_path / "store", tmp_path / "store" / "copy", quiet)
    with pytest.raises(StoreError, match="is not a directory"):
        back_up(tmp_path / "store", tmp_path / "nowhere" / "copy", quiet)


@pytest.mark.parametrize("store", ["copy.unfinished", "copy.unfinished/below", "copy.unfinished/copy"])
def test_the_store_itself_is_never_removed(tmp_path: Path, store: str) -> None:
    """A store in the place where its copy would be made is refused: it was taken for what a killed backup had left, and
    removed."""
    filled(tmp_path / store, some_groups())
    (tmp_path / "copy.unfinished" / MARK).touch()
    with pytest.raises(
        StoreError, match=r"in .*copy\.unfinished until it is whole, and the store that it is of is there"
    ):
        back_up(tmp_path / store, tmp_path / "copy", quiet)
    assert verify(tmp_path / store).events == 9
    assert not (tmp_path / "copy").exists()


def test_a_finished_backup_is_never_removed(tmp_path: Path) -> None:
    """A backup whose own name ends with `.unfinished` has no mark, and stays when another one would be made there."""
    filled(tmp_path / "store", some_groups())
    back_up(tmp_path / "store", tmp_path / "copy.unfinished", quiet)
    before = sorted((tmp_path / "copy.unfinished").iterdir())
    with pytest.raises(StoreError, match=NOT_OURS):
        back_up(tmp_path / "store", tmp_path / "copy", quiet)
    assert sorted((tmp_path / "copy.unfinished").iterdir()) == before
    assert verify(tmp_path / "copy.unfinished").events == 9


def test_what_came_before_the_lock_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes the place between the look at it and its mark is refused too, and the mark is taken out again."""
    filled(tmp_path / "store", some_groups())
    real = os.open

    def late(target: Any, *rest: Any) -> int:
        if str(target).endswith(MARK):
            monkeypatch.undo()
            (tmp_path / "copy.unfinished" / "something").touch()
        return real(target, *rest)

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(StoreError, match=NOT_OURS):
        back_up(tmp_path / "store", tmp_path / "copy", quiet)
    assert [each.name for each in (tmp_path / "copy.unfinished").iterdir()] == ["something"]


@pytest.mark.parametrize("come", [occupied, Path.touch], ids=["a directory", "a file"])
def test_what_took_the_name_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, come: Callable[[Path], None]
) -> None:
    """What comes to the backup's own name while it is made stays, in words, and the copy is gone."""
    filled(tmp_path / "store", some_groups())
    monkeypatch.setattr(backup, "_flush", lambda _: come(tmp_path / "copy"))
    with pytest.raises(StoreError, match="came while the backup was made, and stays as it is"):
        back_up(tmp_path / "store", tmp_path / "copy", quiet)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["copy", "store"]


def test_room_is_asked_for_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with too little room is found before anything is written."""
    filled(tmp_path / "store", some_groups())
    monkeypatch.setattr(disk, "free_bytes", lambda _: 2 * disk.LOW_BYTES)
    with pytest.raises(StoreFull, match=r"the backup takes 33 MiB of the disk of .*, where 32 MiB are free"):
        back_up(tmp_path / "store", tmp_path / "copy", quiet)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["store"]


@pytest.mark.parametrize("moment", [COPYING, VERIFYING])
def test_one_process_makes_a_backup(tmp_path: Path, moment: str) -> None:
    """While one process copies or verifies, the same backup by another is refused, and takes nothing away from it: the
    first said ok while its name had what the second had begun."""
    filled(tmp_path / "data", some_groups())
    (tmp_path / "tidegate.toml").write_text(source("demo"))
    to, others = tmp_path / "copy", list[subprocess.CompletedProcess[str]]()

    def begin_another(step: str, _done: int, _total: int) -> None:
        if step == moment and not others:
            before = sorted(tmp_path.rglob("*"))
            others.append(backup_command(tmp_path / "tidegate.toml", to, os.environ))
            assert sorted(tmp_path.rglob("*")) == before

    assert back_up(tmp_path / "data", to, begin_another).report.events == 9
    assert [each.returncode for each in others] == [1]
    assert f"another process makes the backup that {to}.unfinished is for" in others[0].stderr
    assert verify(to).events == 9
    assert sorted(each.name for each in tmp_path.iterdir()) == ["copy", "data", "tidegate.toml"]


@pytest.mark.parametrize("call", ["open", "flock"])
def test_the_lock_is_of_what_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """A process whose rival ends just before it opens or locks the mark is refused, and makes nothing: it would hold a
    file that is gone, and another process the next one."""
    filled(tmp_path / "store", some_groups())
    to, rival = tmp_path / "copy", Unfinished.take(tmp_path / "copy.unfinished")
    module: Any = {"open": os, "flock": fcntl}[call]
    real = getattr(module, call)

    def late(target: Any, *rest: Any) -> Any:
        if call == "flock" or str(target).endswith(MARK):
            monkeypatch.undo()
            rival.end()
        return real(target, *rest)

    monkeypatch.setattr(module, call, late)
    with pytest.raises(StoreLocked, match="another process makes the backup"):
        back_up(tmp_path / "store", to, quiet)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["store"]
    assert back_up(tmp_path / "store", to, quiet).report.events == 9


def test_what_was_replaced_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose directory was moved away, and made anew by another one, neither names nor removes that one's."""
    filled(tmp_path / "store", some_groups())
    directory = tmp_path / "copy.unfinished"
    others: list[Unfinished] = []

    def replace(_: Path) -> None:
        directory.rename(tmp_path / "moved")
        others.append(Unfinished.take(directory))
        shutil.copytree(tmp_path / "moved" / "copy", others[0].copy)

    monkeypatch.setattr(backup, "_flush", replace)
    with pytest.raises(StoreError, match=r"copy\.unfinished was taken away or replaced while the backup was made"):
        back_up(tmp_path / "store", tmp_path / "copy", quiet)
    assert verify(others[0].copy).events == 9
    others[0].end()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["moved", "store"]


def test_a_backup_that_came_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another process has ended the same backup between the first look and the lock, its copy is left alone."""
    filled(tmp_path / "store", some_groups())
    take = Unfinished.take

    def late(directory: Path) -> Unfinished:
        occupied(tmp_path / "copy")
        return take(directory)

    monkeypatch.setattr(Unfinished, "take", late)
    with pytest.raises(StoreError, match="is there already, and is no empty directory"):
        back_up(tmp_path / "store", tmp_path / "copy", quiet)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["copy", "store"]
    assert [each.name for each in (tmp_path / "copy").iterdir()] == ["something"]


def test_a_damaged_store_has_no_backup(tmp_path: Path) -> None:
    """A record that is not what was written ends it: what has the name of a backup is right."""
    filled(tmp_path / "store", some_groups())
    with opened(tmp_path / "store") as (store, _), store.write_transaction() as txn:
        cursor = txn.cursor(db=store.bodies)
        assert cursor.first()
        cursor.put(cursor.key(), cursor.value()[:-1] + b"!")
    with pytest.raises(StoreDamaged, match=r"the copy is not right: bodies, key"):
        back_up(tmp_path / "store", tmp_path / "copy", quiet)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["store"]


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    with Children(tmp_path) as made:
        yield made


def backup_command(config: Path, to: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What the command says, as a process of its own."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "server", "backup", "--config", str(config), str(to)],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": str(ROOT)},
        timeout=HANG_SECONDS,
        check=False,
    )


def run_backup(child: Child, to: Path) -> dict[str, object]:
    """What the command says beside this server, as it is done."""
    done = backup_command(child.config, to, child.environment)
    assert done.returncode == 0, done
    said: dict[str, object] = json.loads(done.stdout)
    return said


def test_a_backup_tells_people_in_rows(children: Children) -> None:
    """On a terminal what is in it is a row a source, without what is 0 of all; in a pipe it is the JSON that it was."""
    with children(source("demo") + source("other")) as child:
        child.post("demo", [item("a"), item("b")])
        child.post("other", item("c"))
        eventually(lambda: pending(child, "demo") + pending(child, "other") == 0)
        said = run_backup(child, child.directory / "in-a-pipe")
        done = child.cli("backup", str(child.directory / "copy"), "--format", "table", check=True)
    head, *rows = done.stdout.split("\n\n")[1].splitlines()
    assert head.split() == ["SOURCE", "RECEIVED", "PROCESSED"]
    assert [row.split() for row in rows] == [["demo", "2", "2"], ["other", "1", "1"]]
    assert "sources" not in done.stdout
    counts = said.pop("sources")
    assert isinstance(counts, dict)
    assert (list(counts), counts["demo"]["dead"]) == (["demo", "other"], 0)
    assert [line.split()[0] for line in done.stdout.split("\n\n")[0].splitlines()] == list(said)


def test_a_killed_backup_has_no_name(tmp_path: Path) -> None:
    """Whenever it is killed, there is nothing of that name, or the whole of it; run again it is made, and what was left
    is gone."""
    filled(tmp_path / "data", some_groups())
    (tmp_path / "tidegate.toml").write_text(source("demo"))
    to, kills = tmp_path / "copy", 0
    for number in (1, 20, 60, 100, 150, 200, 280, 10**6):
        target = ["storage.backup.backup:back_up", str(number), "backup", "--config", str(tmp_path / "tidegate.toml")]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tests.support.killed", *target, str(to)],
            capture_output=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            timeout=HANG_SECONDS,
            check=False,
        )
        kills += done.returncode == -signal.SIGKILL
        if to.exists():
            assert verify(to).events == 9
            shutil.rmtree(to)
        else:
            assert done.returncode == -signal.SIGKILL, done
    assert kills > 3
    assert done.returncode == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["data", "tidegate.toml"]


def test_a_backup_restores_beside_its_server(children: Children, tmp_path: Path) -> None:
    """A backup beside a running server has all that was acknowledged before; put in place, its server tells the same of
    it, counts the same, knows its ids, and goes on."""
    child = children(source("demo", processor="processors:plain") + source("kept"))
    child.start()
    for at in range(40):
        assert child.post("demo", item(f"id-{at}", at=at)).status == 200
        assert child.post("kept", [item(f"k-{at}-{n}", note="x" * 50) for n in range(5)]).status == 200
    eventually(lambda: child.metrics()['tidegate_events_total{outcome="processed",source="demo"}'] == 40)
    said = run_backup(child, tmp_path / "copy")
    assert (said["ok"], said["events"]) == (True, 240)
    asked = [("receipt", "demo", "id-7"), ("event", "demo", "id-7"), ("event", "kept", "k-3-4")]
    before = [child.cli(*each).stdout for each in asked]
    assert child.post("demo", item("after")).status == 200
    assert child.stop() == 0
    assert json.loads(child.cli("verify", "--store", str(tmp_path / "copy")).stdout)["sources"] == said["sources"]
    child.store.rename(child.directory / "data.old")
    (tmp_path / "copy").rename(child.store)
    child.start()
    assert [child.cli(*each).stdout for each in asked] == before
    assert json.loads(child.cli("verify").stdout)["sources"] == said["sources"]
    assert child.cli("receipt", "demo", "after").returncode == 1
    assert child.post("demo", item("id-7", at=7)).status == 200
    assert child.post("demo", item("new")).status == 200
    eventually(lambda: child.cli("receipt", "demo", "new").returncode == 0)
    receipts = json.loads(child.cli("receipt", "demo", "id-7", "--all").stdout)
    assert sorted(each["outcome"] for each in receipts) == ["duplicate", "processed"]
    assert json.loads(child.cli("verify").stdout)["ok"]
