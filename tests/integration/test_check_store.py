"""`tidegate check` about the store: what stays how long, what is kept free, and when it is full."""

import re
import time
from pathlib import Path

import pytest

from server.cli.description import describe
from server.config.capacity import Machine
from server.config.load import load
from storage.lmdb_store.making import RETENTION_KEY
from storage.model import Append, Group, StatusChange
from storage.statuses import EventStatus
from tests.support.store import delivery, opened

GIB = 2**30
HOUR_MS = 3_600_000
MACHINE = Machine(memory_bytes=2**40, disk_free_bytes=100 * GIB, open_files_max=10**6, disk_total_bytes=200 * GIB)
SOURCE = '[sources.a]\ntype = "webhook"\ntokens = ["t"]\n'
LIMIT = "rate_limit_events_per_second = 10\n"


def said(directory: Path, text: str, machine: Machine = MACHINE) -> str:
    path = directory / "tidegate.toml"
    path.write_text(text)
    return describe(load(path, {}), machine)


def fill(directory: Path, hours_ago: float) -> None:
    """Make the store, with events from then on until now."""
    now_ms = time.time_ns() // 10**6
    with opened(directory / "data") as (_, writer):
        for at in range(10):
            first, received_at_ms = writer.next_number, round(now_ms - hours_ago * HOUR_MS * (1 - at / 10))
            numbered = delivery(first, [f"id-{at}"], body=b"x" * 5000, received_at_ms=received_at_ms)
            writer.write(Group([Append(numbered, 1, EventStatus.DEFERRED)]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("", ("deliveries stay 168 h\n", "receipts stay 720 h\n", "dead events stay for ever\n")),
        ("archive_hours = 0.5\narchive_bytes_max = 1073741824", ("deliveries stay 0.5 h, at most 1 GiB of them\n",)),
        (
            "archive_hours = 1\nreceipt_hours = 5",
            ("stay 97 h, an hour more than dedup.window_hours; ",),
        ),
        ("receipt_hours = 100", ("stay 168 h, as archive_hours needs; receipt_hours is 100\n",)),
        (
            "archive_hours = 0",
            ("deliveries stay for ever\n", "stay for ever, as archive_hours needs; receipt_hours is 720"),
        ),
        ("dead_hours = 24", ("dead events stay 24 h\n",)),
    ],
    ids=["the defaults", "bodies", "the window lifts", "bodies lift", "for ever", "dead events"],
)
def test_what_stays_how_long(tmp_path: Path, settings: str, words: tuple[str, ...]) -> None:
    """It says how long what stays, and why receipts stay longer than they are told to."""
    text = said(tmp_path, f"[retention]\n{settings}\n{SOURCE}")
    assert all(each in text for each in words), text


@pytest.mark.parametrize(
    ("settings", "free", "words"),
    [
        ("", 100 * GIB, "100 GiB for it; below 1 GiB (5 % of its file system, at most 1 GiB)"),
        ("free_bytes_min = 2147483648", 100 * GIB, "below 2 GiB (storage.free_bytes_min)"),
        ("", GIB // 2, "warning: the store's disk has 512 MiB for it, and 1 GiB are to stay free"),
    ],
    ids=["the default", "configured", "below it already"],
)
def test_what_is_kept_free(tmp_path: Path, settings: str, free: int, words: str) -> None:
    """It says what the guard is here, and warns if less than that is free."""
    machine = Machine(2**40, free, 10**6, 200 * GIB)
    assert words in said(tmp_path, f"[storage]\n{settings}\n{SOURCE}", machine)


def test_nothing_is_said_of_an_empty_store(tmp_path: Path) -> None:
    """Without a store, or events, there is no date; at the rate limits an empty store's is an estimate."""
    text = said(tmp_path, SOURCE + LIMIT)
    assert "there is no store yet" in text
    assert (
        "if the store were empty, events of 1 KB: 10 events/s, 494 MiB a day; never full, it stays at about 8.38 GiB"
        in text
    )
    tight = said(tmp_path, SOURCE + LIMIT, Machine(2**40, 4 * GIB, 10**6, 200 * GIB))
    assert re.search(r"494 MiB a day; full in 6\.21 days, at 20\d\d-\d\d-\d\dT\d\d:\d\dZ\n", tight)
    with opened(tmp_path / "data"):
        pass  # that makes it
    assert "it holds no events yet" in said(tmp_path, SOURCE)


def test_too_little_time_is_said(tmp_path: Path) -> None:
    """A store of a minute has a size, and no rate."""
    fill(tmp_path, 1 / 60)
    text = said(tmp_path, SOURCE)
    assert "it holds 10 events: " in text
    assert "not known yet: too little time since its first event" in text


def test_when_the_store_is_full_is_said(tmp_path: Path) -> None:
    """The rate, over which time it was measured, days and date; at the sum of the rate limits too."""
    fill(tmp_path, 5)
    for_ever = "[retention]\narchive_hours = 0\n"
    text = said(tmp_path, for_ever + SOURCE + LIMIT)
    assert re.search(r"measured over 5 h: 0\.000556 events/s, .* a day; full in \S+ days", text)
    assert re.search(r"at the sum of the rate limits: 10 events/s, .* a day; full in \S+ days, at 20", text)
    text = said(tmp_path, SOURCE + LIMIT)
    assert re.search(r"measured over 5 h: .*; never full, it stays at about \S+ [KM]iB\n", text)


@pytest.mark.parametrize(
    ("free", "rate", "words"),
    [
        (4 * GIB, 100_000, "100,000 events/s, 4.71 TiB a day; full in 1 min, at 20"),
        (4 * GIB, 1000, "1,000 events/s, 48.3 GiB a day; full in 1.49 h, at 20"),
        (2**50, 1, "1 events/s, 49.4 MiB a day; full in 1,259 days, at 20"),
    ],
    ids=["minutes", "hours", "days"],
)
def test_figures_are_for_people(tmp_path: Path, free: int, rate: int, words: str) -> None:
    """Rates and times have no powers of ten, and a unit of their own size."""
    machine, limit = Machine(2**40, free, 10**6, 2**51), f"rate_limit_events_per_second = {rate}\n"
    text = said(tmp_path, "[retention]\narchive_hours = 0\n" + SOURCE + limit, machine)
    assert f"if the store were empty, events of 1 KB: {words}" in text, text


def test_an_old_store_says_what_would_leave(tmp_path: Path) -> None:
    """A store from before retention loses nothing unasked; it says what would leave, until it is asked for."""
    fill(tmp_path, 200)
    text = said(tmp_path, SOURCE)
    assert "nothing leaves" not in text
    with opened(tmp_path / "data") as (store, writer):
        outcomes = StatusChange("demo", EventStatus.PROCESSED, range(1, 6), [1] * 5, 1, 1)
        writer.write(Group([], [outcomes]))
        with store.write_transaction() as txn:
            txn.delete(RETENTION_KEY, db=store.meta)
    text = said(tmp_path, SOURCE)
    assert "nothing leaves: it is from before there was retention" in text
    assert re.search(r"leaving at once: the bodies of 5 events \(\S+ \S+\), and 5 receipts\n", text), text
    assert "nothing leaves" not in said(tmp_path, "[retention]\n" + SOURCE)


def test_a_store_that_cannot_be_read(tmp_path: Path) -> None:
    """It says why nothing is known, and goes on."""
    (tmp_path / "data").mkdir(0o700)
    (tmp_path / "data" / "data.mdb").write_bytes(b"x" * 10_000)
    assert "when it is full is not known: " in said(tmp_path, SOURCE)
