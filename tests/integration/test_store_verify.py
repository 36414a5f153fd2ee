"""verify: a store that is right is found right, live, stopped or copied; whatever is wrong is found and placed."""

import os
import random
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage.check.audit import Audit
from storage.check.verify import PROBLEMS_MAX, Report, verify
from storage.codec.pieces import piece_key
from storage.codec.records import (
    ERASURE_KEY,
    encode_body_digests,
    encode_erasure,
    encode_ids,
    encode_results,
    encode_totals,
    key_of,
    seal,
    totals_key,
)
from storage.codec.status_rows import encode_statuses
from storage.errors import StoreMissing
from storage.model import Append, Group
from storage.read import snapshot
from storage.read.snapshot import Snapshots
from storage.statuses import EXPIRED_OF, EventStatus, Totals
from tests.support.store import delivery, filled, numbered, opened, outcome, random_ids

ROOT = Path(__file__).parents[2]


def make(path: Path) -> None:
    """A store with something of everything: two sources, all statuses, errors, results, three blocks."""
    twins = Append(delivery(601, ["id-1", "id-2", "x", "y"]), 3, EventStatus.DEFERRED)
    dropped = Append(delivery(605, ["d", "e"], body=b""), 0, EventStatus.DROPPED)
    filled(
        path,
        [
            Group([numbered(1, 300), numbered(301, 300, source_id="other")]),
            Group([twins, dropped], [outcome(EventStatus.PROCESSED, range(1, 201), details={5: b'{"result":1}'})]),
            Group([], [outcome(EventStatus.DUPLICATE, [601, 602], originals=[1, 2])]),
            Group([], [outcome(EventStatus.DEAD, [301, 302, 303], source_id="other", details={302: b'{"error":"x"}'})]),
            Group([numbered(607, 256)], [outcome(EventStatus.PENDING, [301], source_id="other")]),
            Group([numbered(863, 2)], [outcome(EventStatus.PENDING, [603], attempts=2)]),
        ],
    )


def run_child(path: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "storage.check.verify", str(path)], capture_output=True, text=True, check=False, cwd=ROOT
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "store"
    make(path)
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "store"))


def change(path: Path, database: str, key: bytes, value: Callable[[bytes], bytes | None]) -> None:
    """Put another value at a key, behind the writer's back; None deletes."""
    with opened(path) as (store, _), store.env.begin(write=True) as txn:
        db: Any = getattr(store, database)
        changed = value(txn.get(key, db=db))
        if changed is None:
            txn.delete(key, db=db)
        else:
            txn.put(key, changed, db=db)


def test_a_right_store_is_found_right(path: Path) -> None:
    """Every event is counted by source and status, the counts add up, and there is no problem."""
    before = (path / "data.mdb").read_bytes()
    report = verify(path)
    assert report.problems == []
    assert report.ok
    assert (report.events, report.deliveries, report.blocks) == (864, 6, 3)
    assert report.sources["other"] == {
        "received": 300, "replayed": 0, "requeued": 1, "processed": 0, "duplicate": 0, "dropped": 0, "dead": 3,
        "discarded": 0, "pending": 298,
        "deferred": 0, "expired": 0, **dict.fromkeys(EXPIRED_OF.values(), 0),
    }  # fmt: skip
    demo = report.sources["demo"]
    assert demo["deferred"] == 1
    ends = demo["processed"] + demo["duplicate"] + demo["dropped"] + demo["dead"] + demo["pending"]
    assert demo["received"] + demo["requeued"] == ends == 564
    assert (path / "data.mdb").read_bytes() == before


def test_sources_come_in_order_of_ids(tmp_path: Path) -> None:
    """Two reports of the same store are the same text, whichever seed strings are hashed with."""
    names = [f"source-{at}" for at in range(10)]
    filled(tmp_path / "store", [Group([numbered(at + 1, 1, source_id=name)]) for at, name in enumerate(names[::-1])])
    assert list(verify(tmp_path / "store").sources) == names


def test_an_empty_store_is_right(tmp_path: Path) -> None:
    """A store without an event is right."""
    filled(tmp_path / "store", [])
    assert verify(tmp_path / "store") == Report()


def test_no_store_is_no_report(tmp_path: Path) -> None:
    """Where there is no store verify raises StoreMissing."""
    with pytest.raises(StoreMissing):
        verify(tmp_path)


def test_progress_names_each_block_first(path: Path) -> None:
    """on_progress gets each block before it is read."""
    seen: list[tuple[str, int]] = []
    verify(path, lambda database, number: seen.append((database, number)))
    assert [number for database, number in seen if database == "statuses"] == [1, 601, 863]


def test_copies_are_verified_read_only_ones_too(path: Path, tmp_path: Path) -> None:
    """The data file alone is enough, where nothing can be written too."""
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(path / "data.mdb", copy)
    copy.chmod(0o500)
    try:
        assert verify(copy).problems == []
    finally:
        copy.chmod(0o700)


def test_a_live_store_is_verified(tmp_path: Path) -> None:
    """While a writer appends, finishes, kills and requeues without pause, verify finds nothing wrong."""
    stop = threading.Event()
    with opened(tmp_path / "store") as (_, writer):
        for _ in range(30):
            writer.write(Group([replace(numbered(writer.next_number, 100), admitted=60, rest=EventStatus.DEFERRED)]))

        def go_on() -> None:
            turn = 0
            while not stop.is_set():
                first, low = writer.next_number, turn * 10 + 1
                more = replace(numbered(first, 20), admitted=15, rest=EventStatus.DEFERRED)
                done = outcome(EventStatus.PROCESSED, range(low, low + 5))
                dead = outcome(EventStatus.DEAD, range(low + 5, low + 8), details={low + 5: b'{"error":"x"}'})
                tried = outcome(EventStatus.PENDING, range(low + 8, low + 10), attempts=1)
                writer.write(Group([more], [done, dead, tried]))
                writer.write(Group([], [outcome(EventStatus.PENDING, [low + 5])]))
                turn += 1

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            reports = [verify(tmp_path / "store") for _ in range(3)]
        finally:
            stop.set()
            thread.join()
    assert [report.problems for report in reports] == [[], [], []]
    assert reports[0].events < reports[2].events


@pytest.mark.parametrize("added", [[3], [300], [3, 300, 2]])
def test_a_growing_last_block_is_read_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, added: list[int]) -> None:
    """A block that a writer adds to after it was checked ends later in the next snapshot: that is no damage."""
    monkeypatch.setattr(snapshot, "SNAPSHOT_RECORDS_MAX", 1)
    problems: list[str] = []
    with opened(tmp_path / "store") as (store, writer):
        writer.write(Group([numbered(1, 300)]))
        writer.write(Group([numbered(301, 2)]))

        def reading(database: str, number: int) -> None:
            if (database, number) == ("statuses", 301):
                for count in added:
                    writer.write(Group([numbered(writer.next_number, count)]))

        audit = Audit(store, problems.append, reading)
        audit.run()
    assert problems == []
    assert audit.recount.blocks >= 2


DAMAGED = [
    ("meta", totals_key("demo"), "meta, key b'totals/demo'"),
    ("facts", key_of(301), "facts, key 301"),
    ("bodies", key_of(301), "bodies, key 301"),
    ("ids", key_of(601), "ids, key 601"),
    ("statuses", key_of(1), "statuses, key 1"),
    ("results", key_of(2), "results, key 2"),
]


@pytest.mark.parametrize(("database", "key", "place"), DAMAGED)
@pytest.mark.parametrize("at", [0, 5, -1])
def test_a_flipped_byte_is_found_and_placed(path: Path, database: str, key: bytes, place: str, at: int) -> None:
    """A changed byte in any database's value is a problem that names database and key; the exit status is 1."""

    def flip(value: bytes) -> bytes:
        changed = bytearray(value)
        changed[at] ^= 0x40
        return bytes(changed)

    with opened(path) as (store, _), store.env.begin(write=True) as txn:
        txn.put(key, flip(txn.get(key, db=getattr(store, database))), db=getattr(store, database))
    done = run_child(path)
    assert done.returncode == 1
    assert place in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture
def in_three_pieces(tmp_path: Path) -> Path:
    """A store in which the facts of the second of three records are in three pieces, and the bodies too."""
    path = tmp_path / "pieces"
    body = "".join(random_ids(200, seed=6)).encode()
    whole = Append(delivery(2, random_ids(150), body=body), 150, EventStatus.DEFERRED)
    filled(path, [Group([numbered(1, 1)]), Group([whole]), Group([numbered(152, 1)])])
    with opened(path) as (store, _), store.read_transaction() as txn:
        for db in (store.facts, store.bodies):
            keys = [bytes(key) for key in txn.cursor(db=db).iternext(keys=True, values=False)]
            assert keys == [key_of(1), *(piece_key(key_of(2), place) for place in range(3)), key_of(152)]
    return path


def test_values_in_pieces_are_right(in_three_pieces: Path) -> None:
    """Pieces are no records: all events are counted, and nothing is wrong."""
    report = verify(in_three_pieces)
    assert (report.problems, report.events, report.deliveries) == ([], 152, 3)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("database", ["facts", "bodies"])
def test_a_damaged_piece_is_found(in_three_pieces: Path, database: str, place: int) -> None:
    """A piece that was changed, or shortened, or is missing, is a problem that says where."""
    key = piece_key(key_of(2), place)
    for changed in (lambda value: value[:-1] + bytes([value[-1] ^ 1]), lambda value: value[:-1], lambda _: None):
        damaged = Path(shutil.copytree(in_three_pieces, in_three_pieces.with_name("damaged"), dirs_exist_ok=True))
        change(damaged, database, key, changed)
        problems = verify(damaged).problems
        places = (f"{database}, key 2", f"{database}, key {piece_key(key_of(2), 1)!r}")
        assert any(problem.startswith(places) for problem in problems)


@pytest.mark.parametrize("key", [piece_key(key_of(1), 2), piece_key(key_of(2), 4), key_of(2) + b"\1\1", b"odd"])
def test_a_key_in_excess_is_found(in_three_pieces: Path, key: bytes) -> None:
    """A key that is neither a number's nor that of the next piece of a record."""
    change(in_three_pieces, "facts", key, lambda _: b"excess")
    assert any(re.search("facts, .*the key is not a number", problem) for problem in verify(in_three_pieces).problems)


@pytest.mark.parametrize("key", [piece_key(key_of(1), 1), piece_key(key_of(2), 3), piece_key(key_of(152), 1)])
@pytest.mark.parametrize("database", ["facts", "bodies"])
def test_a_piece_in_excess_is_found(in_three_pieces: Path, database: str, key: bytes) -> None:
    """A piece behind the last that a value has: its checksum is wrong then, or the piece is left over."""
    change(in_three_pieces, database, key, lambda _: b"excess")
    number = int.from_bytes(key[:8], "big")
    assert any(problem.startswith(f"{database}, key {number}: ") for problem in verify(in_three_pieces).problems)


def test_the_walk_goes_on_behind_damage(path: Path) -> None:
    """Two damaged records are both found."""
    for key in (key_of(1), key_of(607)):
        change(path, "facts", key, lambda value: value[:-1] + bytes([value[-1] ^ 1]))
    problems = verify(path).problems
    assert [place in "\n".join(problems) for place in ("facts, key 1:", "facts, key 607:")] == [True, True]


@pytest.mark.parametrize("field", [name for name in Totals.__slots__ if name != "oldest"])
def test_a_wrong_total_is_found(path: Path, field: str) -> None:
    """A total that is one too large, with a right checksum, is found by recounting, but for the sum of the deferred."""
    key = totals_key("demo")
    with opened(path) as (_, writer):
        totals = writer.totals["demo"]
    wrong = replace(totals, **{field: getattr(totals, field) + 1})
    change(path, "meta", key, lambda _: encode_totals(key, wrong))
    problems = verify(path).problems
    assert all("meta, totals of demo" in problem for problem in problems)
    assert bool(problems) == (field != "deferred")


def test_totals_that_balance_and_are_wrong_are_found(path: Path) -> None:
    """One event moved from processed to pending in the totals keeps the identity, and is found all the same."""
    key = totals_key("demo")
    with opened(path) as (_, writer):
        totals = writer.totals["demo"]
    wrong = replace(totals, processed=totals.processed - 1, pending=totals.pending + 1)
    assert wrong.balanced
    change(path, "meta", key, lambda _: encode_totals(key, wrong))
    assert len([problem for problem in verify(path).problems if "totals of demo" in problem]) == 2


def test_lost_totals_are_found(path: Path) -> None:
    """A source whose totals are gone is found by its records."""
    change(path, "meta", totals_key("other"), lambda _: None)
    assert any("totals of other" in problem for problem in verify(path).problems)


def test_a_damaged_note_is_found(path: Path) -> None:
    """What says that something is to be overwritten is read too: damage there is a problem, with its place."""
    change(path, "meta", ERASURE_KEY, lambda _: encode_erasure(1)[:-1])
    report = verify(path)
    assert any("meta, key b'erasure'" in problem for problem in report.problems)
    assert report.erasure_since_ms == 0


def test_an_oldest_that_is_too_high_is_found(path: Path) -> None:
    """An event that waits before the oldest pending number would never be fed again: it is found."""
    key = totals_key("demo")
    with opened(path) as (_, writer):
        totals = writer.totals["demo"]
    change(path, "meta", key, lambda _: encode_totals(key, replace(totals, oldest=202)))
    assert any("the event 201 is pending, but 202 is the oldest" in problem for problem in verify(path).problems)


@pytest.mark.parametrize(
    ("database", "key", "place"),
    [
        ("facts", 301, "facts"),
        ("facts", 301, "bodies, key 301: there are no facts for it"),
        ("bodies", 301, "bodies, key 301"),
        ("ids", 601, "ids, key 601"),
        ("statuses", 601, "statuses, key 863"),
        ("results", 2, "results, key 2"),
    ],
)
def test_a_missing_record_is_found(path: Path, database: str, key: int, place: str) -> None:
    """A record that is not there is a problem that says where."""
    change(path, database, key_of(key), lambda _: None)
    assert any(place in problem for problem in verify(path).problems)


def test_a_missing_end_is_found(path: Path) -> None:
    """Facts, bodies and ids behind the last block of statuses are found."""
    with opened(path) as (store, _), store.env.begin(write=True) as txn:
        txn.delete(key_of(863), db=store.statuses)
    problems = "\n".join(verify(path).problems)
    assert all(f"{name}, key 863: there is no block for it" in problems for name in ("facts", "bodies", "ids"))


def test_bodies_without_facts_are_found(path: Path) -> None:
    """A record of bodies belongs to one of facts, under the same key, whichever of the two is in excess."""
    change(path, "facts", key_of(607), lambda _: None)
    assert any("bodies, key 607: there are no facts for it" in problem for problem in verify(path).problems)
    change(path, "bodies", key_of(700), lambda _: b"more")
    assert any("bodies, key 700: there are no facts for it" in problem for problem in verify(path).problems)


def test_a_dropped_delivery_needs_no_bodies(tmp_path: Path) -> None:
    """Facts whose bodies are all empty have no record of bodies, and nothing is wrong with that."""
    dropped = Append(delivery(1, ["d", "e"], body=b""), 0, EventStatus.DROPPED)
    filled(tmp_path / "store", [Group([dropped])])
    with opened(tmp_path / "store") as (store, _), store.read_transaction() as txn:
        assert [txn.stat(db)["entries"] for db in (store.facts, store.bodies)] == [1, 0]
    assert verify(tmp_path / "store").problems == []


def test_digests_of_other_ids_are_found(path: Path) -> None:
    """Digests with a right checksum that are not those of the archived ids are found."""
    change(path, "ids", key_of(863), lambda _: encode_ids(key_of(863), bytes(32)))
    assert any("ids, key 863" in problem for problem in verify(path).problems)


def test_digests_of_other_bodies_are_found(tmp_path: Path) -> None:
    """Digests that are not those of the bodies, are missing, or have no facts are found; the right ones are not, and
    neither is a duplicate by its body."""
    path = tmp_path / "store"
    same = [Append(delivery(first, [f"id-{first}"], body_hash="5" * 32), 1, EventStatus.DEFERRED) for first in (1, 2)]
    twin = outcome(EventStatus.DUPLICATE, [2], originals=[1])
    other = Append(delivery(3, ["id-3"], body_hash="6" * 32), 1, EventStatus.DEFERRED)
    filled(path, [Group(same), Group([other], [outcome(EventStatus.PROCESSED, [1, 3]), twin])])
    assert verify(path).problems == []
    right = b""

    def keep(value: bytes) -> None:
        nonlocal right
        right = value

    change(path, "body_digests", key_of(1), keep)
    [missing, unknown] = verify(path).problems
    assert missing == "body_digests, key 1: they are not those of the bodies as they were received"
    assert unknown == "statuses: the event 2 is a duplicate of 1, which has another id"
    change(path, "body_digests", key_of(1), lambda _: encode_body_digests(key_of(1), bytes(32)))
    assert missing in verify(path).problems
    change(path, "body_digests", key_of(1), lambda _: right[:-1])
    assert "body_digests, key 1: the checksum is wrong" in verify(path).problems
    change(path, "body_digests", key_of(1), lambda _: right)
    change(path, "body_digests", key_of(2), lambda _: encode_body_digests(key_of(2), bytes(16)))
    assert verify(path).problems == ["body_digests, key 2: there are no facts for it"]


def test_a_duplicate_without_its_original_is_found(path: Path) -> None:
    """A duplicate whose original is not processed, does not exist or has another id is found."""
    for ref, words in ((1, "not processed"), (-5000, "not processed"), (590, "another id")):
        with opened(path) as (store, _):
            with Snapshots(store).take() as snapshot:
                rows = snapshot.block_at(601).rows
            rows["ref"][0] = ref
            with store.env.begin(write=True) as txn:
                txn.put(key_of(601), encode_statuses(key_of(601), rows), db=store.statuses)
        assert any(
            "the event 601 is a duplicate of" in problem and words in problem for problem in verify(path).problems
        )


@pytest.mark.parametrize("detail", [{}, {302: b"no json"}])
def test_a_missing_or_broken_detail_is_found(path: Path, detail: dict[int, bytes]) -> None:
    """An event that refers to a results record must be in it, with JSON."""
    detail = detail | {9: b"{}"}
    change(path, "results", key_of(2), lambda _: encode_results(key_of(2), detail))
    assert any("results, key 2: the detail of the event 302" in problem for problem in verify(path).problems)


def test_another_format_is_a_problem(path: Path) -> None:
    """A store of another format is reported, not read."""
    change(path, "meta", b"format", lambda _: seal(b"meta", b"format", b"tidegate store 9"))
    (problem,) = verify(path).problems
    assert "tidegate store 9" in problem


@pytest.mark.parametrize("kept", [0.0, 0.05, 0.4, 0.9])
def test_a_truncated_file_is_damage(path: Path, kept: float) -> None:
    """A file that ends early is a problem, whether its reader gets an error or a signal; free pages may be missing."""
    size = (path / "data.mdb").stat().st_size
    os.truncate(path / "data.mdb", int(size * kept))
    report = verify(path)
    assert report.problems or (kept == 0.9 and report.events == 864)


def test_a_killed_reader_is_damage_with_its_place(path: Path) -> None:
    """Where the child ends by a signal the report names the signal and what was read last."""
    size = (path / "data.mdb").stat().st_size
    os.truncate(path / "data.mdb", size // 3)
    (problem,) = verify(path).problems
    assert re.search(r"^\w+, key \d+: reading ended by SIG(BUS|ABRT|SEGV)", problem)


def test_a_file_of_garbage_is_damage(path: Path) -> None:
    """A file that is no LMDB file is a problem."""
    (path / "data.mdb").write_bytes(b"garbage" * 10_000)
    done = run_child(path)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert len(verify(path).problems) == 1


@pytest.mark.parametrize("seed", range(8))
def test_damaged_pages_never_escape(path: Path, seed: int) -> None:
    """Whatever pages hold, verify reports; where it reports nothing the damage was in pages that hold nothing."""
    chance = random.Random(seed)
    content = bytearray((path / "data.mdb").read_bytes())
    for _ in range(3):
        page = chance.randrange(len(content) // 4096)
        for at in range(page * 4096, page * 4096 + 32 if seed % 2 else page * 4096 + 4096):
            content[at] = chance.randrange(256)
    (path / "data.mdb").write_bytes(content)
    report = verify(path)
    assert report.problems or report.events == 864


def test_problems_are_counted_beyond_the_first(tmp_path: Path) -> None:
    """At most PROBLEMS_MAX problems are listed; the others are counted."""
    filled(tmp_path / "store", [Group([numbered(1 + at * 256, 256)]) for at in range(PROBLEMS_MAX + 20)])
    with opened(tmp_path / "store") as (store, _), store.env.begin(write=True) as txn:
        for at in range(PROBLEMS_MAX + 20):
            txn.put(key_of(1 + at * 256), b"damage", db=store.facts)
    report = verify(tmp_path / "store")
    assert len(report.problems) == PROBLEMS_MAX
    assert report.problems_left_out >= 20
