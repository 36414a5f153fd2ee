"""`verify --export`: a file is what its manifest says and what the store has, but for what came since; all else is
found."""

import io
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from server.base.json_text import json_text
from server.cli.export_check import check_export
from server.cli.main import main
from storage.model import Append, Group
from storage.read.query import EventQuery
from storage.read.reader import Reader
from storage.read.scan import EventPage
from storage.retain.planner import Planner
from storage.retain.policy import Retention
from storage.statuses import EventStatus
from storage.write import transaction
from tests.support.config import source
from tests.support.exports import (
    FORMATS,
    exported,
    exporting_place,
    fitted,
    manifest,
    needs_pyarrow,
    read,
    tidegate,
    written,
)
from tests.support.store import STORE_MS, changed, delivery, filled, numbered, opened, outcome, singles

Capture = pytest.CaptureFixture[str]

BODIES_AT_ONCE = Retention(archive_ms=1, receipt_ms=1 << 41)
ALL_AT_ONCE = Retention(archive_ms=1, receipt_ms=1)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a configuration, and a store that has events of every outcome."""
    return exporting_place(tmp_path)


Harm = Callable[[Path], object]


def other_bytes(place: Path) -> None:
    data = (place / "file").read_bytes()
    (place / "file").write_bytes(data.replace(b'"a"', b'"A"', 1))


def shorter(place: Path) -> None:
    (place / "file").write_bytes((place / "file").read_bytes()[:-1])


def rewritten(place: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Another file, with a manifest that fits its bytes."""
    (place / "file").write_bytes(b"".join(change((place / "file").read_bytes().splitlines(keepends=True))))
    fitted(place / "file")


def store_without(place: Path) -> None:
    (place / "data").rename(place / "data.old")
    filled(place / "data", [Group([numbered(1, 2)])])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (other_bytes, "another SHA-256"),
        (shorter, "bytes, the manifest says"),
        (lambda place: rewritten(place, lambda lines: lines[:3] + lines[4:]), "the event 4 of the store is not in"),
        (lambda place: rewritten(place, lambda lines: lines[::-1]), "the event 8 stands behind the event 9"),
        (lambda place: rewritten(place, lambda lines: [*lines, *lines[-1:]]), "stands behind"),
        (
            lambda place: rewritten(place, lambda lines: [each.replace(b':"x"', b':"y"') for each in lines]),
            "the event 6 is 'y' of demo; in the store it is 'x' of demo",
        ),
        (
            lambda place: rewritten(
                place, lambda lines: [each.replace(b'"processed"', b'"dropped"') for each in lines]
            ),
            "the event 1 is dropped; in the store it is processed",
        ),
        (store_without, "the export is of another store"),
        (lambda place: (place / "file.manifest.json").unlink(), "cannot be read: No such file"),
        (lambda place: (place / "file.manifest.json").write_text("{}"), "is no manifest of an export"),
    ],
    ids=["bytes", "size", "one left out", "order", "twice", "id", "outcome", "store", "no manifest", "a bad manifest"],
)
def test_verify_finds_what_is_wrong(place: Path, harm: Harm, words: str, capsys: Capture) -> None:
    """A file that is not as it was written, or not as its store is, is said with what is wrong, and exit 1."""
    exported(place, "file", "ndjson")
    capsys.readouterr()
    harm(place)
    assert tidegate(place, "verify", "--export", str(place / "file")) == 1
    assert words in capsys.readouterr().err


def test_verify_knows_that_a_store_goes_on(place: Path) -> None:
    """Outcomes that came since, and events, are no mistakes of the file; nor is a directory in place of the
    configuration."""
    exported(place, "file", "csv")
    with opened(place / "data") as (_, writer):
        writer.write(Group([numbered(10, 3)], [outcome(EventStatus.PROCESSED, [2, 3])]))
    assert main(["verify", "--export", str(place / "file"), "--store", str(place / "data")]) == 0


@pytest.mark.parametrize("shape", FORMATS)
def test_verify_counts_what_was_forgotten_since(place: Path, shape: str, capsys: Capture) -> None:
    """A file from before a forget still has what the events held: it is as it was written, so exit 0, and that is said;
    one that was made afterwards has nothing of them."""
    exported(place, "before", shape)
    assert tidegate(place, "forget", "demo", "a", "--yes") == 0
    exported(place, "after", shape)
    for name, count in (("before", 2), ("after", 0)):
        capsys.readouterr()
        assert tidegate(place, "verify", "--export", str(place / name)) == 0
        out, err = capsys.readouterr()
        assert (json.loads(out)["ok"], json.loads(out)["forgotten"]) == (True, count)
        words = f"{place / name} has what was forgotten after it was made (events: 2): remove it, or make it anew"
        assert err == (f"tidegate: {words}\n" if count else "")


def verified(place: Path, capsys: Capture, code: int) -> list[str]:
    """The problems that `verify` prints of the export."""
    capsys.readouterr()
    assert tidegate(place, "verify", "--export", str(place / "file")) == code
    out = json.loads(capsys.readouterr().out)
    assert out["ok"] == (not code)
    problems: list[str] = out["problems"]
    return problems


CHANGED: dict[str, tuple[int, object]] = {
    "payload": (4, {"n": 9}),
    "headers": (4, {"content-type": "text/plain"}),
    "meta": (4, {"number": 4}),
    "source_type": (4, "segment"),
    "provider_event_id": (3, "=b()"),
    "event_type": (4, "order.lost"),
    "received_at": (4, "2023-11-14T22:13:20.001Z"),
    "finished_at": (1, "2023-11-14T22:13:20.002Z"),
    "attempts": (1, 3),
    "result": (1, {"ok": [2]}),
    "duplicate_of": (7, "0000000000002-abcdef"),
    "error": (1, "no"),
    "archive": (4, "expired"),
}
"""By column: which event of the store has another value now."""


@pytest.mark.parametrize("shape", FORMATS)
@pytest.mark.parametrize("column", CHANGED)
def test_verify_compares_all_that_cannot_change(place: Path, shape: str, column: str, capsys: Capture) -> None:
    """A value that is another than the store has is found in each format, though the manifest fits the file: it was
    number, source, id and outcome alone that were compared."""
    exported(place, "file", shape)
    number, value = CHANGED[column]
    rows = read(place / "file", shape)
    written(place / "file", shape, rows)
    fitted(place / "file")
    assert verified(place, capsys, 0) == []
    rows[number - 1][column] = as_cell(value, column, shape)
    written(place / "file", shape, rows)
    fitted(place / "file")
    assert verified(place, capsys, 1) == [f"the event {number} has another {column} in the file than in the store"]


def as_cell(value: object, column: str, shape: str) -> object:
    """A value as a row of the format has it."""
    if shape in ("csv", "parquet") and isinstance(value, dict):
        return json_text(value).decode()
    if shape == "csv" and isinstance(value, str) and value.startswith("="):
        return f"'{value}"
    is_time = column in ("received_at", "finished_at")
    return datetime.fromisoformat(str(value)) if shape == "parquet" and is_time else value


@pytest.mark.parametrize("shape", FORMATS)
def test_results_of_any_size_are_verified(place: Path, shape: str, capsys: Capture) -> None:
    """An integer that is larger than a machine's is the same in the file and in the store."""
    with opened(place / "data") as (_, writer):
        detail = b'{"result":{"n":123456789012345678901234567890}}'
        writer.write(Group([], [outcome(EventStatus.PROCESSED, [2], details={2: detail})]))
    exported(place, "file", shape)
    assert verified(place, capsys, 0) == []


@pytest.mark.parametrize("shape", FORMATS)
def test_verify_compares_what_a_forget_left(place: Path, shape: str, capsys: Capture) -> None:
    """Payloads of the forgotten, and headers and addresses of all of their deliveries, cannot be compared any more; all
    else is, in these events and in others."""
    exported(place, "file", shape)
    assert tidegate(place, "forget", "demo", "a", "--yes") == 0
    assert verified(place, capsys, 0) == []
    rows = read(place / "file", shape)
    rows[0]["event_type"] = "order.lost"
    rows[1]["payload"] = as_cell({"n": 9}, "payload", shape)
    rows[2]["meta"] = as_cell({"number": 3, "remote_addr": "127.0.0.1"}, "meta", shape)
    rows[7]["headers"] = as_cell({}, "headers", shape)
    written(place / "file", shape, rows)
    fitted(place / "file")
    columns = {1: "event_type", 2: "payload", 3: "meta", 8: "headers"}
    assert verified(place, capsys, 1) == [
        f"the event {number} has another {column} in the file than in the store" for number, column in columns.items()
    ]


@pytest.mark.parametrize("shape", FORMATS)
def test_verify_compares_what_retention_left(place: Path, shape: str, capsys: Capture) -> None:
    """Payloads and results that have left since cannot be compared any more; all else is."""
    with opened(place / "data") as (_, writer):
        writer.write(Group([], [outcome(EventStatus.PROCESSED, [2, 3])]))
    exported(place, "file", shape)
    with opened(place / "data") as (store, writer):
        writer.write(Group(removal=Planner(store).plan(BODIES_AT_ONCE, STORE_MS + (1 << 40))))
    assert verified(place, capsys, 0) == []
    assert exported(place, "after", shape)[0]["archive"] == "expired"
    rows = read(place / "file", shape)
    rows[0]["headers"] = as_cell({}, "headers", shape)
    rows[1]["payload"] = as_cell({"n": 9}, "payload", shape)
    written(place / "file", shape, rows)
    fitted(place / "file")
    assert verified(place, capsys, 1) == ["the event 1 has another headers in the file than in the store"]


def test_verify_compares_the_totals_too(place: Path, capsys: Capture) -> None:
    """The manifest's totals are those of the file."""
    exported(place, "file", "ndjson")
    totals = manifest(place, "file")["totals"]
    fitted(place / "file", totals=totals | {"demo": totals["demo"] | {"dropped": 2, "processed": 0}})
    [problem] = verified(place, capsys, 1)
    assert problem.startswith("of the source demo the file has {")


def test_rare_events_are_verified_where_they_are(place: Path, capsys: Capture) -> None:
    """Of an export of few among many events each is compared, however many lie between."""
    with opened(place / "data") as (_, writer):
        writer.write(Group([numbered(10, 3000, body=json_text(list(range(3000))))]))
        writer.write(Group([], [outcome(EventStatus.DROPPED, [11, 1500, 3009])]))
    rows = exported(place, "file", "ndjson", "--outcome", "dropped")
    assert [row["number"] for row in rows] == [4, 11, 1500, 3009]
    assert verified(place, capsys, 0) == []
    rows[2]["payload"] = 7
    written(place / "file", "ndjson", rows)
    fitted(place / "file")
    assert verified(place, capsys, 1) == ["the event 1500 has another payload in the file than in the store"]


def with_line(data: bytes, line: bytes) -> bytes:
    """The lines of an export with another fourth one."""
    lines = data.splitlines(keepends=True)
    return b"".join([*lines[:3], line + b"\n", *lines[4:]])


def changed_line(data: bytes, **other: object) -> bytes:
    """The lines of an export, of which the fourth has this in place of what it had."""
    return with_line(data, json_text(json.loads(data.splitlines()[3]) | other))


def without_key(data: bytes, key: str) -> bytes:
    """The lines of an export, of which the fourth lacks this."""
    row = json.loads(data.splitlines()[3])
    return with_line(data, json_text({name: value for name, value in row.items() if name != key}))


def torn_table(data: bytes) -> bytes:
    """A parquet file whose middle is overwritten."""
    return data[:100] + bytes(len(data) // 2 - 100) + data[len(data) // 2 :]


def other_table(data: bytes, change: Callable[[Any], Any]) -> bytes:
    """A parquet file whose table is another."""
    import pyarrow.parquet  # noqa: PLC0415 - where it is installed

    made = io.BytesIO()
    pyarrow.parquet.write_table(change(pyarrow.parquet.read_table(io.BytesIO(data))), made)
    return made.getvalue()


def with_text_numbers(table: Any) -> Any:
    return table.set_column(0, "number", table.column("number").cast("string"))


def with_null_number(table: Any) -> Any:
    import pyarrow  # noqa: PLC0415 - where it is installed

    numbers = [None if number == 4 else number for number in table.column("number").to_pylist()]
    return table.set_column(0, "number", pyarrow.array(numbers, pyarrow.int64()))


@pytest.mark.parametrize(
    ("shape", "harm", "words"),
    [
        ("ndjson", lambda data: with_line(data, b"{}"), "from row 4 on: it is not an object with the keys of an event"),
        ("ndjson", lambda data: with_line(data, b"[1]"), "from row 4 on: it is not an object"),
        ("ndjson", lambda data: with_line(data, b"garbage"), "from row 4 on: "),
        ("ndjson", lambda data: with_line(data, b""), "from row 4 on: "),
        ("ndjson", lambda data: with_line(data, b'"\xff"'), "from row 4 on: "),
        ("ndjson", lambda data: with_line(data, b'{"result":' + b"[" * 1020 + b"]" * 1020 + b"}"), "from row 4 on: "),
        ("ndjson", lambda data: without_key(data, "meta"), "from row 4 on: it is not an object with the keys of"),
        ("ndjson", lambda data: changed_line(data, other=1), "from row 4 on: it is not an object with the keys of"),
        ("ndjson", lambda data: changed_line(data, number="4"), "from row 4 on: number is missing, or of another type"),
        ("ndjson", lambda data: changed_line(data, number=True), "from row 4 on: number is missing, or of another"),
        (
            "ndjson",
            lambda data: changed_line(data, number=2**63),
            "from row 4 on: 9223372036854775808 is not",
        ),
        ("ndjson", lambda data: changed_line(data, number=0), "from row 4 on: 0 is not the number of an event"),
        (
            "ndjson",
            lambda data: changed_line(data, event_type=5),
            "from row 4 on: event_type is missing, or of",
        ),
        ("ndjson", lambda data: changed_line(data, outcome="lost"), "from row 4 on: 'lost' is not an outcome"),
        ("ndjson.zst", lambda data: b"garbage", "from row 1 on: "),
        ("ndjson.zst", lambda data: data + b"garbage", "from row 1 on: "),
        ("csv", lambda data: data.replace(b",attempts", b"", 1), "from row 1 on: its head does not name the columns"),
        ("csv", lambda data: b"", "from row 1 on: its head does not name the columns"),
        ("csv", lambda data: data + b"10,dropped\r\n", "from row 10 on: it has 2 cells in place of 20"),
        ("csv", lambda data: data.replace(b"\r\n4,", b"\r\nfour,"), "from row 4 on: invalid literal for int()"),
        ("csv", lambda data: data.replace(b"\r\n9,", b'\r\n"9,'), "from row 9 on: "),
        ("csv", lambda data: data.replace(b"\r\n9,", b"\r\n\xff,"), "from row 9 on: 'utf-8' codec can't decode"),
        *(
            pytest.param("parquet", harm, words, marks=needs_pyarrow)
            for harm, words in (
                (lambda data: b"garbage that is long enough", "from row 1 on: Parquet magic bytes not found"),
                (torn_table, "from row 1 on: "),
                (lambda data: other_table(data, lambda table: table.drop(["meta"])), "from row 1 on: its columns are"),
                (lambda data: other_table(data, with_text_numbers), "from row 1 on: its columns are"),
                (lambda data: other_table(data, with_null_number), "from row 4 on: number is missing"),
            )
        ),
    ],
)
def test_verify_says_where_a_file_is_wrong(
    place: Path, shape: str, harm: Callable[[bytes], bytes], words: str, capsys: Capture
) -> None:
    """A file that is as its manifest says, and not of its format, is a problem that names the row: it was a
    traceback."""
    exported(place, "file", shape)
    (place / "file").write_bytes(harm((place / "file").read_bytes()))
    fitted(place / "file")
    [problem] = verified(place, capsys, 1)
    assert problem.startswith(f"{place / 'file'} is not what an export writes as {shape}, {words}")


@pytest.mark.parametrize("shape", FORMATS)
@pytest.mark.parametrize("other", FORMATS)
def test_a_format_is_not_another_one(place: Path, shape: str, other: str, capsys: Capture) -> None:
    """A manifest that names another format than the file has is found."""
    exported(place, "file", shape)
    fitted(place / "file", format=other)
    problems = verified(place, capsys, int(shape != other))
    assert [each.split(", ")[0] for each in problems] == [
        f"{place / 'file'} is not what an export writes as {other}" for _ in problems
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"count": "9"},
        {"bytes": None},
        {"totals": []},
        {"after": -1},
        {"before": 2**63},
        {"asked": {"nobody": "asks"}},
        {"asked": {"since": 5}},
        {"asked": {"where": ["payload.n=1", 2]}},
        {"asked": {"outcome": "lost"}},
    ],
)
def test_a_manifest_has_all_it_needs(place: Path, other: dict[str, object], capsys: Capture) -> None:
    """One in which something is missing, or of another type, is named as none: it was a traceback."""
    exported(place, "file", "ndjson")
    fitted(place / "file", **other)
    capsys.readouterr()
    assert tidegate(place, "verify", "--export", str(place / "file")) == 1
    assert f"{place / 'file.manifest.json'} is no manifest of an export" in capsys.readouterr().err


def test_verify_compares_what_was_discarded(place: Path, capsys: Capture) -> None:
    """A discard is for good: what died stays as it was, whether it is discarded or forgotten after the export; only the
    text of its error is forgotten too."""
    exported(place, "file", "ndjson")
    assert tidegate(place, "discard", "other", "o", "--yes") == 0
    assert verified(place, capsys, 0) == []
    exported(place, "discarded", "ndjson")
    assert tidegate(place, "forget", "other", "o", "--yes") == 0
    assert verified(place, capsys, 0) == []
    (place / "discarded").replace(place / "file")
    (place / "discarded.manifest.json").replace(place / "file.manifest.json")
    assert verified(place, capsys, 0) == []
    rows = read(place / "file", "ndjson")
    rows[4]["finished_at"] = "2023-11-14T22:13:20.002Z"
    written(place / "file", "ndjson", rows)
    fitted(place / "file")
    assert verified(place, capsys, 1) == ["the event 5 has another finished_at in the file than in the store"]


@pytest.mark.parametrize("shape", FORMATS)
def test_texts_of_any_kind_are_verified(place: Path, shape: str, capsys: Capture) -> None:
    """Line ends, quotes, apostrophes, nothing at all and what no terminal prints are the same in the file and in the
    store."""
    odd = ["a\rb\r\nc\nd", '"', "'", "'=", ",", "\x00\x1b\x85\u2028\ufeff", "\U0001f600", " "]
    with opened(place / "data") as (_, writer):
        bodies = [json_text({"text": text, "n": [1.0, 1e300, 2**64, -0.0, None, ""]}) for text in odd]
        events = changed(singles(10, odd, bodies=bodies), provider_ids=["", *odd[1:]], types=[*odd[1:], "x"])
        writer.write(Group([Append(events, len(odd), EventStatus.DEFERRED)]))
        details = {10: json_text({"error": "a\rb\n"}), 11: b'{"result":null}', 12: b'{"result":""}'}
        dead, done = outcome(EventStatus.DEAD, [10], details=details), [11, 12]
        writer.write(Group([], [dead, outcome(EventStatus.PROCESSED, done, details=details)]))
    exported(place, "file", shape)
    assert verified(place, capsys, 0) == []


def test_receipts_may_leave_during_a_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What leaves while the server goes on beside it has left, and is not missing in the store."""
    monkeypatch.setattr(transaction, "BLOCK_EVENTS_MIN", 12)
    (tmp_path / "tidegate.toml").write_text(source("demo"))
    filled(tmp_path / "data", [Group([dropped(1 + 100 * at)]) for at in range(12)])
    exported(tmp_path, "file", "ndjson")
    select = Reader.select
    with opened(tmp_path / "data") as (store, writer):
        planner = Planner(store, calls_max=20)

        def selected(reader: Reader, query: EventQuery, **how: Any) -> EventPage:
            writer.write(Group(removal=planner.plan(ALL_AT_ONCE, STORE_MS + (1 << 40))))
            return select(reader, query, **how, events_max=10)

        monkeypatch.setattr(Reader, "select", selected)
        report = check_export(tmp_path / "file", manifest(tmp_path, "file"), store)
    assert (report.problems, report.count) == ([], 1200)
    assert 200 < report.left < 1200


def dropped(first: int) -> Append:
    """A delivery of 100 events that were dropped when they came."""
    return Append(delivery(first, [f"id-{first + at}" for at in range(100)], body=b""), 0, EventStatus.DROPPED)
