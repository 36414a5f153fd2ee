"""What `status` and `top` show, from data to lines: what is in them, how wide and how high they are."""

import pytest

from server.cli.overview import Overview, described, total_rates, writes, wrong
from server.cli.panel import Line, lines
from server.cli.quantities import duration, per_second
from server.cli.scrape import Failures, Scrape, SourceScrape, StoreScrape, Trouble, Writes

NOW_MS = 1_800_000_000_000
ESCAPE = "\x1b[2J"


def totals(**counts: int) -> dict[str, int]:
    return dict.fromkeys(("received", "processed", "duplicate", "dropped", "dead", "replayed"), 0) | counts


def one(source_id: str = "orders", **facts: object) -> SourceScrape:
    """A source with which nothing is wrong, but for these facts."""
    known: dict[str, object] = {"totals": totals(), "pending": 0, "deferred": 0, "dead": 0, "oldest_seconds": None}
    known |= {"processor": "shop:work", "refused": {}}
    return SourceScrape(source_id, **known | facts)  # type: ignore[arg-type] # what a test says of one


def at(seconds: float, *sources: SourceScrape, troubles: tuple[Trouble, ...] = (), ready: bool | None = True) -> Scrape:
    """A scrape at this time; each write took 2 ms of the journal and 8 ms of the store, one a second."""
    journal, commits = Writes(seconds, seconds * 0.002), Writes(seconds, seconds * 0.008)
    store = StoreScrape(2**30, 2**36, "measured", 34.2, "2027-02-18T00:00:00.000Z")
    return Scrape(seconds, NOW_MS, ready, troubles, sources, "1.2.3", journal, commits, store)


def text(found: list[Line]) -> str:
    return "\n".join("".join(piece for piece, _ in line).rstrip() for line in found)


def shown(overview: Overview, *, width: int | None = None, height: int | None = None) -> str:
    assert overview.now is not None
    return text(lines(overview, wrong(overview.now, allow_dead=True), width=width, height=height))


def test_a_quiet_server_is_one_screen() -> None:
    """Rates are differences over the time between; all that the operator's page says is there."""
    before = one(totals=totals(received=100, processed=90, replayed=5), pending=10)
    after = one(
        totals=totals(received=300, processed=280, dead=2, replayed=20),
        pending=18, deferred=3, dead=2, oldest_seconds=3.2,
        refused={"unauthorized": 4, "invalid_json": 1}, limit="500/s defer",
    )  # fmt: skip
    overview = Overview(at(12, after), at(2, before))
    assert (
        shown(overview)
        == """\
tidegate 1.2.3  ready  2027-01-15T08:00:00Z
events  in 20/s  processed 19/s  duplicate 0/s  dropped 0/s  dead 0.2/s  replayed 1.5/s
pending 18, the oldest for 3.2 s; 3 deferred; 2 dead
disk    journal 2 ms, commit 8 ms a write
store   1 GiB of 64 GiB; full in 34 d at the rate of the last day

SOURCE  IN/S  REPLAY/S  DONE/S  DUP/S  DROP/S  DIED/S  PENDING  OLDEST  DEAD  REFUSED  LIMIT        STATE
orders    20       1.5      19      0       0     0.2       18   3.2 s     2        5  500/s defer  ok"""
    )


def test_rates_need_two_scrapes_alike() -> None:
    """There is no rate at first, for a source that is new, and for a counter that began anew; no answer ends them."""
    first = at(2, one(totals=totals(received=100)))
    assert total_rates(Overview(first))["received"] is None
    again = at(3, one(totals=totals(received=7)), one("new", totals=totals(received=5)))
    assert total_rates(Overview(again, first))["received"] is None
    later = Overview().followed_by(first).without_answer("nobody listens").followed_by(again)
    assert total_rates(later)["received"] is None
    assert later.problem == ""
    assert total_rates(later.followed_by(at(5, one(totals=totals(received=17)))))["received"] == 5


def test_the_disk_is_timed_between_scrapes() -> None:
    """It is the mean of what was written meanwhile; where nothing was, since the start; nothing at all is unknown."""
    slow = Scrape(3, NOW_MS, True, (), journal=Writes(12, 1.02), commits=Writes(10, 0.08))
    assert list(writes(Overview(slow, at(10)))) == pytest.approx([0.5, 0.008])
    assert list(writes(Overview(at(10), at(10)))) == pytest.approx([0.002, 0.008])
    assert writes(Overview(at(0))) == (None, None)


def test_what_is_wrong_stands_first() -> None:
    """Sources that are paused, silent or failing come before the others, and say so."""
    odd = [
        one("zulu", marks=("paused", "silent"), processor=None),
        one("yankee", failures=Failures(3, "ValueError: no", NOW_MS - 90_000)),
        one("alpha"),
    ]
    rows = shown(Overview(at(1, *odd))).splitlines()[-4:]
    assert [row.split()[0] for row in rows] == ["yankee", "ValueError:", "zulu", "alpha"]
    assert rows[0].endswith("failed 3×, 1.5 min ago")
    assert rows[1] == "  ValueError: no"
    assert rows[2].endswith("paused, silent, no processor")


@pytest.mark.parametrize("width", [80, 100, 120])
def test_errors_are_read_at_usual_widths(width: int) -> None:
    """A processor's last error has a line of its own below its source, whatever the columns take; the state that
    precedes it is whole."""
    error = "HTTPStatusError: Server error '503 Service Unavailable' for url 'http://crm.example/orders'"
    busy = one(
        "web-shop-orders", totals=totals(received=10**6, duplicate=10**5, dropped=10**4, replayed=10**3),
        pending=12_345, dead=280, oldest_seconds=190.0, refused={"unauthorized": 1_234}, limit="500/s defer",
        failures=Failures(280, error, NOW_MS - 156_000),
    )  # fmt: skip
    overview = Overview(at(3, busy, one("b")), at(2, one("web-shop-orders"), one("b")))
    _, row, below, last = shown(overview, width=width).splitlines()[-4:]
    assert row.endswith("failed 280×, 2.6 min ago")
    assert below.startswith(f"  {error[:70]}")
    assert last.startswith("b ")


def test_errors_below_rows_are_counted() -> None:
    """Where the height is limited a source and its error stand together or not at all, and the rest is counted."""
    sources = [one(f"s{number}", failures=Failures(1, "E: no", NOW_MS)) for number in range(9)]
    for height in (14, 15):
        said = shown(Overview(at(1, *sources)), width=80, height=height).splitlines()
        assert len(said) <= height
        assert said[-3].startswith("s2")
        assert said[-2:] == ["  E: no", "6 sources more: tidegate status"]


@pytest.mark.parametrize("allow_dead", [False, True])
def test_all_that_is_wrong_is_listed(allow_dead: bool) -> None:
    """Reasons, warnings, and dead events unless they are allowed."""
    troubles = (Trouble("draining", "it ends", keeps_out=True), Trouble("clock", "was set back"))
    found = wrong(at(1, one(dead=1200), one("other"), troubles=troubles), allow_dead=allow_dead)
    names = [each.name for each in found]
    assert names == ["draining", "clock", *([] if allow_dead else ["dead"])]
    if not allow_dead:
        assert found[-1].message == "source orders: 1,200 dead events: tidegate dead orders"


def test_strangers_words_drive_no_terminal() -> None:
    """Errors, messages and versions from elsewhere are escaped, and stay in their line."""
    bad = one("orders", failures=Failures(1, f"E: {ESCAPE}\r\n\x9b1m\u202e", NOW_MS), processor=ESCAPE, limit=ESCAPE)
    now = Scrape(1, NOW_MS, True, (Trouble(ESCAPE, f"a\n{ESCAPE}\x07"),), (bad,), ESCAPE)
    for width in (None, 40, 80):
        found = lines(Overview(now, problem=f"b\n{ESCAPE}"), now.troubles, width=width, hint="q ends")
        assert all(piece.isprintable() for line in found for piece, _ in line)
    assert r"\x1b[2J\r\n\x9b1m\u202e" in text(found[-1:]) + shown(Overview(now))


@pytest.mark.parametrize("width", [1, 2, 20, 40, 60, 79, 80, 100, 132, 250])
@pytest.mark.parametrize("height", [1, 3, 6, 12, 24, 60])
def test_nothing_is_larger_than_the_terminal(width: int, height: int) -> None:
    """However many sources and warnings there are, no line is too wide, and there are not too many of them."""
    sources = [
        one("x" * number, failures=Failures(10**6, "E: " + "words " * 50, NOW_MS), totals=totals(received=10**12))
        for number in range(1, 65)
    ]
    troubles = tuple(Trouble("silent", "source x: nothing was accepted " * 9) for _ in range(30))
    found = lines(Overview(at(1, *sources, troubles=troubles)), troubles, width=width, height=height, hint="q ends")
    assert 0 < len(found) <= height
    assert all(sum(len(piece) for piece, _ in line) <= width for line in found)


def test_80_columns_have_what_matters() -> None:
    """The columns that say less leave first; those that are left are whole, and the state has room."""
    overview = Overview(at(1, one("a-rather-long-name-of-a-source", limit="500/s defer", pending=12_345)))
    head, row = shown(overview, width=80).splitlines()[-2:]
    assert head.split() == ["SOURCE", "IN/S", "DONE/S", "PENDING", "OLDEST", "DEAD", "REFUSED", "STATE"]
    assert row.startswith("a-rather-long-name-…  ")
    assert "12,345" in row
    narrow = shown(overview, width=44).splitlines()[-2].split()
    assert narrow == ["SOURCE", "IN/S", "PENDING", "DEAD", "STATE"]


def test_what_has_no_room_is_counted() -> None:
    """Warnings take half of what is left, and sources the rest; how many more there are is said."""
    troubles = tuple(Trouble("silent", f"source {number}") for number in range(20))
    sources = [one(f"s{number:02}") for number in range(20)]
    said = shown(Overview(at(1, *sources, troubles=troubles)), width=80, height=24).splitlines()
    assert len(said) == 24
    assert "13 more: tidegate status" in said
    assert said[-1] == "13 sources more: tidegate status"
    assert said[-2].startswith("s06")


def test_long_warnings_are_whole_in_status() -> None:
    """Where the height is not limited a warning is wrapped to its end; else it is cut after three lines."""
    trouble = Trouble("clock", "word " * 100 + "and-done")
    overview = Overview(at(1, one(), troubles=(trouble,)))
    assert "and-done" in shown(overview, width=60)
    assert "and-done" not in shown(overview, width=60, height=40)
    assert sum(line.strip().startswith("word") for line in shown(overview, width=60, height=40).splitlines()) == 2


def test_a_silent_server_leaves_the_last() -> None:
    """What was found last stays, with the reason; before the first answer there is the reason alone."""
    asked = Overview().followed_by(at(1, one()))
    said = shown(asked.without_answer("nobody listens on 127.0.0.1:1"), width=80)
    assert said.startswith("tidegate 1.2.3  no answer  2027-01-15T08:00:00Z\nnobody listens on 127.0.0.1:1\n")
    assert "orders" in said
    assert text(lines(Overview(), ())) == "tidegate  asking"
    assert text(lines(Overview(problem="nobody"), ())) == "tidegate  no answer\nnobody"


def test_the_store_alone_has_no_rates() -> None:
    """Without a server there are totals, which add up, what is pending and what is dead; no rate, disk or state."""
    stored = one(totals=totals(received=9, replayed=3, processed=10), pending=2, oldest_seconds=7200.0, refused=None)
    now = Scrape(1, NOW_MS, None, (Trouble("no_answer", "nobody listens", keeps_out=True),), (stored,))
    said = shown(Overview(now)).splitlines()
    assert said == [
        "tidegate  no answer  2027-01-15T08:00:00Z",
        "pending 2, the oldest for 2 h; 0 dead",
        "",
        "no_answer: nobody listens",
        "",
        "SOURCE  RECEIVED  REPLAYED  PROCESSED  DUPLICATE  DROPPED  PENDING  OLDEST  DEAD",
        "orders         9         3         10          0        0        2     2 h     0",
    ]
    value = described(Overview(now), now.troubles)
    assert (value["server"], value["ok"], value["per_second"], value["store"]) == ("no answer", False, None, None)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"), (0, "0 s"), (0.00005, "0.05 ms"), (0.0123, "12 ms"), (0.25, "0.25 s"), (1, "1 s"), (9.96, "10 s"),
        (59.9, "60 s"), (61, "1 min"), (5400, "1.5 h"), (86_400 * 400, "400 d"),
    ],
)  # fmt: skip
def test_durations_have_their_largest_unit(seconds: float | None, words: str) -> None:
    """Two digits are enough for people, and never a power of ten."""
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"), [(None, "–"), (0, "0"), (0.0123, "0.012"), (9.5, "9.5"), (9.99, "10"), (1234.6, "1,235")]
)
def test_rates_are_read_at_once(value: float | None, words: str) -> None:
    """Small ones have two digits, large ones no fraction."""
    assert per_second(value) == words
