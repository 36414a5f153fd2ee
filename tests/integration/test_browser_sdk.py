"""Segment's SDK for browsers, unmodified, in a page of a headless Chromium that comes from another origin."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from tests.support import node
from tests.support.browser import Page, browsing
from tests.support.client import Response
from tests.support.conditions import CONDITIONS, PROCESSED, answered, befallen, sections
from tests.support.ledger import METRICS_OF_TOTALS, check_identity, statuses, totals
from tests.support.pages import DOCS
from tests.support.relay import Happening, Request, passed_on, relaying
from tests.support.sdks import BATCH, COUNT, KEY, Report, Sdk
from tests.support.senders_table import record
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually

PACKAGE = "@segment/analytics-next"
NO_METRICS = "metrics: { sampleRate: 0 }"
RECEIVED = METRICS_OF_TOTALS["received"].format("app")
HANG_MILLISECONDS = 1000 * HANG_SECONDS

STRATEGIES: Mapping[str, object] = {
    "one at a time": None,
    "in batches": {"strategy": "batching", "config": {"size": BATCH, "timeout": 500}},
}
"""The SDK's ways to deliver."""
UNTIL_THE_END = {"strategy": "batching", "config": {"size": BATCH, "timeout": HANG_MILLISECONDS}}
"""Its way to deliver when the page is left, and not before."""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browsing(tmp_path / "profile") as page:
        yield page
        assert all(url.startswith("http://127.0.0.1:") for url in page.asked())


def begin(page: Page, url: str, strategy: object) -> None:
    """Open the page, with an SDK that sends to this address."""
    page.open()
    page.run(f"begin({json.dumps(KEY)}, {json.dumps(url)}, {json.dumps(strategy)})")


def sent(page: Page, strategy: object, url: str) -> Report:
    """What it says of events that come a batch at a time, each when something was sent since the one before."""
    begin(page, url, strategy)
    ids: list[str] = []
    for first in range(0, COUNT, BATCH):
        before = len(page.asked())
        ids += page.run(f"track({first}, {BATCH})")
        eventually(partial(has_asked, page, before))
    return Report(f"{node.version_of(PACKAGE)} in Chromium {page.version()}", ids, page.run("lost"))


def has_asked(page: Page, before: int) -> bool:
    return len(page.asked()) > before


def sdk(page: Page, strategy: str) -> Sdk:
    return Sdk(PACKAGE, partial(sent, page, STRATEGIES[strategy]), strategy)


def check_kept_once(child: Child, ids: list[str]) -> None:
    """Raise AssertionError unless each is processed once, and nothing else is."""
    eventually(lambda: child.metrics()[PROCESSED] == len(ids))
    assert [statuses(child, "app", each).count("processed") for each in ids] == [1] * len(ids)
    check_identity(child)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_a_page_sends_is_kept(
    children: Children, page: Page, request: pytest.FixtureRequest, strategy: str, condition: str
) -> None:
    """What the SDK in a page reports as sent is all, and each event was processed once."""
    record(request, befallen(children, sdk(page, strategy), condition, origins=[page.origin]))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_complete_front_end_takes_a_page(children: Children, page: Page, strategy: str) -> None:
    """A server without the fast front end keeps what a page sends, once."""
    befallen(children, sdk(page, strategy), "healthy", origins=[page.origin], fast=False)


def test_a_page_tells_nobody_else(children: Children, page: Page) -> None:
    """With the settings in the page about SDKs it sends its vendor nothing, as it does otherwise within a minute."""
    assert all(NO_METRICS in path.read_text() for path in (DOCS / "senders" / "sdks.md", node.PINNED / "page.html"))
    child = children(sections([page.origin]))
    child.start()
    page.take_clock()
    begin(page, f"http://127.0.0.1:{child.port}", None)
    ids = page.run("track(0, 3)")
    page.later(60)
    ids += page.run("track(3, 3)")
    check_kept_once(child, ids)
    assert {url.split("/")[2] for url in page.asked()} == {page.origin.split("/")[2], f"127.0.0.1:{child.port}"}


def test_a_page_asks_once_for_all(children: Children, page: Page) -> None:
    """The browser remembers what OPTIONS was answered with: of many events one after another the first alone asks."""
    child = children(sections([page.origin]))
    child.start()
    begin(page, f"http://127.0.0.1:{child.port}", None)
    ids = [page.run(f"track({number}, 1)")[0] for number in range(5)]
    check_kept_once(child, ids)
    assert child.metrics()['tidegate_requests_total{code="",status="204"}'] == 1


@pytest.mark.parametrize("asked", [False, True])
def test_a_page_that_is_left_sends(children: Children, page: Page, asked: bool) -> None:
    """What waits in a page for its batch is sent when the page is left, whether the browser has asked before or not."""
    child = children(sections([page.origin]))
    child.start()
    begin(page, f"http://127.0.0.1:{child.port}", UNTIL_THE_END)
    earlier = page.run(f"track(0, {BATCH})") if asked else []
    eventually(lambda: child.metrics()[PROCESSED] == len(earlier))
    waiting = page.run("track(100, 3)")
    assert child.metrics()[RECEIVED] == len(earlier)
    page.leave()
    check_kept_once(child, earlier + waiting)


def test_a_beacon_needs_no_question(children: Children, page: Page) -> None:
    """A beacon that a page sends when it is left, with the key in its query, is kept."""
    child = children(sections([page.origin]))
    child.start()
    page.open()
    url = f"http://127.0.0.1:{child.port}/beacon/v1/batch?writeKey={KEY}"
    body = json.dumps(
        {"batch": [{"type": "track", "event": "Left", "messageId": f"left-{number}"} for number in range(3)]}
    )
    page.run(f"addEventListener('pagehide', () => navigator.sendBeacon({json.dumps(url)}, {json.dumps(body)})), 0")
    page.leave()
    check_kept_once(child, [f"left-{number}" for number in range(3)])
    assert child.metrics()['tidegate_requests_total{code="",status="204"}'] == 0


def test_next_page_sends_what_is_left(children: Children, page: Page) -> None:
    """What a page has no answer to when it is left, kept or not, the next page sends again, and each is kept once."""
    child = children(sections([page.origin]))
    happenings: dict[int, Happening] = {number: (unheard, unanswered)[number % 2] for number in range(1, 1000)}
    child.start()
    with relaying(child, happenings) as relay:
        begin(page, relay.url, None)
        ids = page.run("track(0, 3)")
        page.leave()
        assert not answered(relay)
        happenings.clear()
        begin(page, relay.url, None)
        eventually(lambda: set(ids) <= answered(relay))
    check_kept_once(child, ids)
    assert totals(child)["app"]["duplicate"] > 0


def unheard(child: Child, request: Request) -> Response | None:
    """The server answers, and the connection is closed."""
    passed_on(child, request)
    return None


def unanswered(child: Child, request: Request) -> Response | None:
    """The connection is closed."""
    return None


def test_a_strange_page_gets_nothing_in(children: Children, page: Page) -> None:
    """Of a page whose origin is not listed nothing is kept."""
    child = children(sections(["https://www.example.com"]))
    child.start()
    begin(page, f"http://127.0.0.1:{child.port}", None)
    page.run("track(0, 3)")
    assert child.metrics()['tidegate_requests_total{code="unauthorized",status="401"}'] >= 1
    assert child.metrics()[RECEIVED] == 0
