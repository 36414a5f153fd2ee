"""The page of the admin side in a real Chromium: what it shows and does, and that what strangers wrote stays text."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from tests.support.client import item
from tests.support.config import source
from tests.support.server import Child, Children
from tests.support.visiting import Visitor, visiting
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("page")  # one server and one browser for most of them

SCRIPT = """<img src=x onerror="window.hacked=1"><script>window.hacked=2</script>'"</td>"""
SHAPES = ((1280, 900, "light"), (1280, 900, "dark"), (360, 740, "light"), (360, 740, "dark"))
INJECTED = "document.querySelectorAll('main img, main script, main iframe').length"
HOSTILE = "def raises(events):\n    raise ValueError(events[0]['event_type'])\n"
EVENT = f"event?{urlencode({'source': 'hostile', 'id': SCRIPT}, quote_via=quote)}"
VIEWS = {
    "": "#main canvas >> nth=5",
    "source/orders": "caption:has-text('refused')",
    "events?source=orders": "#found tbody tr",
    "events?type=nothing": "#found p:has-text('No event')",
    "dead": "#choose-all",
    EVENT: "caption:has-text('with this id')",
    "tail": "button:has-text('Stop')",
}
"""The page's views, and what is seen of each at last."""
HOSTILE_VIEWS = {
    "source/hostile": ".facts",
    "events?source=hostile": "#found tbody tr",
    "dead?source=hostile": "#choose-all",
    "dead": "#choose-all",
    EVENT: "caption:has-text('with this id')",
}
"""Those in which what a stranger wrote is seen."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """One server for the whole file, with events of each fate, and some that strangers wrote."""
    with Children(tmp_path_factory.mktemp("page")) as children:
        sections = [
            source("orders", processor="processors:plain"),
            source("fails", processor="processors:always_fails", processor_attempts_max=1),
            source("hostile", processor="hostile:raises", processor_attempts_max=1),
            source("paused", paused=True),
        ]
        child = children("".join(sections))
        (child.directory / "hostile.py").write_text(HOSTILE)
        with child:
            fields = {"event_type": "order.paid", "payload": {"order": 7}}
            child.post("orders", [item(f"order-{at}", **fields) for at in range(60)])
            child.post("fails", [item("fails-1"), item("fails-2"), item("fails-3"), item("fails-4")])
            child.post("paused", item("waits"))
            hostile = item(SCRIPT, event_type=SCRIPT, provider_event_id=SCRIPT, payload={SCRIPT: SCRIPT})
            child.post("hostile", hostile, headers={"X-Trace": SCRIPT, "User-Agent": SCRIPT})
            child.post("orders", b"{", headers={"User-Agent": SCRIPT})
            eventually(lambda: child.admin("/dead").body.count(b"\n") == 5)
            yield child


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    """One browser for the whole file, which asked nobody but servers here."""
    with visiting(tmp_path_factory.mktemp("visiting") / "profile") as found:
        yield found
        assert all(url.startswith(("http://127.0.0.1:", "about:", "data:")) for url in found.asked())


def offers(server: Child, route: str) -> bool:
    return route in server.admin("/routes").json


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_is_for_everybody(server: Child, visitor: Visitor, view: str) -> None:
    """axe-core finds nothing wrong, in light and dark, wide and narrow; no view is wider than the window."""
    visitor.go(server.admin_port, view)
    visitor.see(VIEWS[view])
    for width, height, scheme in SHAPES:
        visitor.shape(width, height, scheme)
        assert visitor.findings() == []
        assert visitor.run("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("view", HOSTILE_VIEWS)
def test_injected_scripts_stay_text(server: Child, visitor: Visitor, view: str) -> None:
    """What a sender wrote, as an id, type, header, payload or the text of an error, is seen as it was written."""
    before = len(visitor.said())
    visitor.go(server.admin_port, view)
    visitor.see(HOSTILE_VIEWS[view])
    eventually(lambda: visitor.run(INJECTED) or SCRIPT in visitor.run("document.body.textContent"))
    assert visitor.run(INJECTED) == 0
    assert visitor.run("String(window.hacked)") == "undefined"
    assert visitor.said()[before:] == []


def test_sources_are_shown_as_they_do(server: Child, visitor: Visitor) -> None:
    """A row a source has its outcomes, its refusals by reason, its processor's last error, and whether it is paused."""
    visitor.shape(1280, 900, "light")
    visitor.go(server.admin_port)
    assert "invalid_json 1" in visitor.see("tr:has-text('orders')")
    assert "ValueError: it always does" in visitor.see("tr:has-text('fails')")
    assert "paused" in visitor.see("tr:has(a:text-is('paused')) .mark")
    visitor.see("#main canvas >> nth=5")
    visitor.see(".legend b:has-text('/s')")


def test_sources_are_found_by_their_id(children: Children, visitor: Visitor) -> None:
    """Where there are more sources than rows, each is found by a part of its id, whatever its case: with the keyboard
    alone, and it is said how many of how many are shown. What is typed stays when the numbers are read again."""
    with children("".join(source(f"shop-{at}") for at in range(210)) + source("Last-Shop")) as child:
        visitor.shape(1280, 900, "light")
        visitor.go(child.admin_port)
        visitor.see("[role=status]:text-is('200 of 211')")
        assert visitor.run("document.querySelectorAll('main tbody tr').length") == 200
        visitor.run("document.querySelector('[name=source]').focus()")
        for key in "last":
            visitor.press(key)
        visitor.see("[role=status]:text-is('1 of 211')")
        assert "Last-Shop" in visitor.see("main tbody tr")
        before = readings(visitor)
        eventually(lambda: readings(visitor) > before + 1)
        assert visitor.run("document.querySelectorAll('main tbody tr').length") == 1
        assert visitor.run("document.activeElement.value") == "last"
        assert visitor.findings() == []
        visitor.press("Tab")
        assert visitor.run("document.activeElement.textContent") == "Last-Shop"
        visitor.type("[name=source]", "shop-20")
        visitor.see("[role=status]:text-is('11 of 211')")
        visitor.type("[name=source]", "nobody")
        visitor.see("[role=status]:text-is('0 of 211')")
        visitor.type("[name=source]", "shop-")
        visitor.see("[role=status]:text-is('200 of 211; 210 match')")


def test_a_forgotten_event_says_so(server: Child, visitor: Visitor) -> None:
    """In the list it has a mark; its own view says when it was forgotten, and that its body is gone, as no mistake."""
    server.post("orders", item("to-forget", payload={"name": "Ada"}))
    eventually(lambda: "outcome" in server.admin("/receipts/orders/to-forget").json)
    order = json.dumps({"source": "orders", "event_ids": ["to-forget"], "wait": False}).encode()
    done = server.admin("/forget", method="POST", body=order, headers={"Content-Type": "application/json"})
    assert (done.status, done.json["forgotten"]) == (200, 1)
    visitor.shape(1280, 900, "light")
    visitor.go(server.admin_port, "events?source=orders&event_id=to-forget")
    assert visitor.see("tr:has-text('to-forget') .mark") == "forgotten"
    assert visitor.findings() == []
    visitor.click("a:text-is('to-forget')")
    said = visitor.see(".notice:has-text('what this event held is gone')")
    at = server.admin("/receipts/orders/to-forget").json["forgotten_at"]
    assert visitor.run("document.querySelector('.facts time[datetime=" + json.dumps(at) + "]') !== null")
    assert f"forgotten at {at}" in visitor.see(".notice:has-text('its receipt is still there')")
    assert "Forgotten" in said
    assert visitor.run("document.querySelectorAll('main .failure').length") == 0
    for width, height, scheme in SHAPES:
        visitor.shape(width, height, scheme)
        assert visitor.findings() == []


def test_search_finds_by_what_is_filled_in(server: Child, visitor: Visitor) -> None:
    """The form's conditions meet in the list; a row leads to the event; the address of a search is the search."""
    visitor.shape(1280, 900, "light")
    visitor.go(server.admin_port, "events")
    visitor.type("[name=id]", "order-1")
    visitor.type("[name=where]", "payload.order=7")
    visitor.choose("[name=outcome]", "processed")
    visitor.press("Tab")
    visitor.click("text=Search")
    assert "11 events" in visitor.see("#found p:has-text('11 events')")
    visitor.click("a:text-is('order-1')")
    assert '"order": 7' in visitor.see("pre:has-text('order.paid')")
    visitor.go(server.admin_port, "events?source=orders&outcome=processed")
    visitor.click("text=Older events")
    assert "order-9" in visitor.see("tr:has-text('order-9')")
    visitor.go(server.admin_port, "events?since=never")
    assert "invalid_request" in visitor.see("#found [role=alert]")


def test_dead_events_are_requeued_by_clicks(server: Child, visitor: Visitor) -> None:
    """Nothing is done before the operator says yes; then it is, and the page says how many."""
    name = 'tidegate_events_requeued_total{source="fails"}'
    visitor.shape(1280, 900, "light")
    visitor.go(server.admin_port, "dead?source=fails")
    visitor.click("text=Requeue chosen")
    visitor.see("text=None is chosen.")
    before = server.metrics()[name]
    visitor.click("tr:has-text('fails-1') input")
    visitor.click("text=Requeue chosen")
    assert "“fails-1” of fails" in visitor.see("dialog")
    assert visitor.findings() == []
    visitor.press("Escape")
    visitor.ask("gone", "dialog")
    assert server.metrics()[name] == before
    visitor.click("text=Requeue chosen")
    visitor.click("#confirm-no")
    assert server.metrics()[name] == before
    visitor.click("text=Requeue chosen")
    visitor.click("#confirm-yes")
    assert visitor.see("#said:not(:empty)") == "1 requeued."
    assert server.metrics()[name] == before + 1


def test_dead_events_are_discarded_by_clicks(server: Child, visitor: Visitor) -> None:
    """A server that can discard events is asked to; one that cannot has no such button."""
    visitor.shape(1280, 900, "light")
    visitor.go(server.admin_port, "dead?source=fails")
    visitor.see("tr:has-text('fails-4') input")
    if not offers(server, "POST /discard"):
        assert "Discard" not in visitor.see("main")
        return
    visitor.see("caption:has-text('By kind of error')")
    assert visitor.findings() == []
    visitor.click("tr:has-text('fails-4') input")
    visitor.click("text=Discard chosen")
    visitor.click("#confirm-yes")
    assert visitor.see("#said:not(:empty)") == "1 discarded."
    visitor.go(server.admin_port, "event?source=fails&id=fails-4")
    assert "discarded" in visitor.see("caption:has-text('History') ~ tbody")


def test_tail_shows_what_comes(server: Child, visitor: Visitor) -> None:
    """An event that comes while the view is open is in it, with a link that leads to it."""
    visitor.go(server.admin_port, "tail?source=orders")
    visitor.see("text=Following.")
    eventually(lambda: server.post("orders", item("just-now")).status == 200 and visitor.run(_ROWS) > 0)
    assert "just-now" in visitor.see("tbody tr >> nth=0")
    visitor.click("button:has-text('Stop')")
    visitor.see("text=Stopped.")


_ROWS = "document.querySelectorAll('main tbody tr').length"


def test_the_page_is_used_by_keys(server: Child, visitor: Visitor) -> None:
    """The first key leads past the views to the content; each view is reached by keys, and its title has the focus."""
    visitor.shape(1280, 900, "light")
    visitor.go(server.admin_port)
    visitor.see("#main canvas >> nth=5")
    visitor.run("document.activeElement.blur()")
    focus = "document.activeElement.textContent.trim()"
    visitor.click(".brand")
    visitor.press("Tab")
    visitor.press("Tab")
    assert visitor.run(focus) == "Events"
    visitor.press("Enter")
    visitor.see("form.search")
    assert visitor.run(focus) == "Events"
    assert visitor.run("document.activeElement.tagName + document.title") == "H1Events – Tidegate"
    visitor.run("document.querySelector('.skip').focus()")
    visitor.press("Enter")
    assert visitor.run("document.activeElement.id + location.hash") == "main#/events"


def test_a_token_is_asked_for_and_forgotten(children: Children, visitor: Visitor) -> None:
    """A server with a token shows nothing before it is typed; it is kept nowhere, and asked for when it changes."""
    child = children(source("demo"), server_keys='admin_token = "file:admin-token"')
    token: Path = child.directory / "admin-token"
    token.write_text("secret-1\n")
    with child:
        visitor.go(child.admin_port)
        visitor.see("[name=token]")
        assert visitor.findings() == []
        assert "demo" not in visitor.see("body")
        visitor.type("[name=token]", "wrong")
        visitor.press("Enter")
        visitor.see("text=This is not the token.")
        visitor.type("[name=token]", "secret-1")
        visitor.press("Enter")
        visitor.see("a:text-is('demo')")
        kept = "localStorage.length + sessionStorage.length + document.cookie.length"
        assert visitor.run(f"({kept}) + ' ' + location.href.includes('secret')") == "0 false"
        token.write_text("secret-2\n")
        child.reload()
        visitor.see("text=The token is not the right one any more.")


def readings(visitor: Visitor) -> int:
    return sum(url.endswith("/metrics") for url in visitor.asked())


def test_a_page_that_nobody_sees_rests(server: Child, tmp_path: Path) -> None:
    """While the page is hidden it asks for no numbers, and again as soon as it is seen."""
    hide = "Object.defineProperty(document, 'hidden', {{ configurable: true, get: () => {} }});"
    tell = "document.dispatchEvent(new Event('visibilitychange'))"
    with visiting(tmp_path / "profile") as visitor:
        visitor.take_clock()
        visitor.go(server.admin_port)
        visitor.see("a:text-is('orders')")
        visitor.run(hide.format("true") + tell)
        before = readings(visitor)
        visitor.later(600)
        assert readings(visitor) == before
        visitor.run(hide.format("false") + tell)
        eventually(lambda: readings(visitor) > before)


def test_durations_are_written_without_exponents(server: Child, visitor: Visitor) -> None:
    """Half a second is 500 ms: the axis of a chart had said 5.0e+2 ms."""
    visitor.go(server.admin_port)
    script = "import('/page/words.js').then(({ duration }) => [0.5, 0.0999, 0.0042, 0.00002, 90].map(duration))"
    assert visitor.run(script) == ["500 ms", "100 ms", "4.2 ms", "20 µs", "1.5 min"]


def test_long_numbers_are_not_rounded(server: Child, visitor: Visitor) -> None:
    """A body is shown with the digits that the server has, though a script cannot count so far."""
    server.post("orders", b'{"inbound_event_id": "digits", "payload": {"n": 9007199254740993, "s": "a, {b}: [c]"}}')
    eventually(lambda: "outcome" in server.admin("/receipts/orders/digits").json)
    visitor.go(server.admin_port, "event?source=orders&id=digits")
    text = visitor.see("pre:has-text('9007199254740993')")
    assert json.loads(text)["payload"] == {"n": 9007199254740993, "s": "a, {b}: [c]"}
