"""What the page's overview says at a glance: what is wrong, what is dead now, and how long the store lasts."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import item
from tests.support.config import source
from tests.support.server import Child, Children
from tests.support.visiting import Visitor, visiting
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("page-overview")  # one browser for all of them

SECTIONS = source("fails", processor="processors:always_fails", processor_attempts_max=1) + source("still")
PAUSED = SECTIONS + "paused = true\n"
SCRIPT = """<img src=x onerror="window.hacked=1"><script>window.hacked=2</script>"""
SHAPES = ((1280, 900, "light"), (1280, 900, "dark"), (360, 740, "light"), (360, 740, "dark"))
READYZ_SAYS = """
(() => {
  const ask = window.fetch;
  const answer = () => new Response(JSON.stringify(window.readiness), { status: 503 });
  window.fetch = (path, options) => path === "/readyz" ? Promise.resolve(answer()) : ask(path, options);
})()
"""
"""Has the page hear `window.readiness`."""


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    """One browser for the whole file, which asked nobody but servers here."""
    with visiting(tmp_path_factory.mktemp("visiting") / "profile") as found:
        yield found
        assert all(url.startswith(("http://127.0.0.1:", "about:")) for url in found.asked())


@pytest.fixture
def child(children: Children) -> Iterator[Child]:
    """A server with which nothing is wrong yet."""
    with children(SECTIONS) as child:
        yield child


def asked_for(visitor: Visitor, path: str) -> int:
    return sum(url.endswith(path) for url in visitor.asked())


def test_the_overview_says_what_is_wrong(child: Child, visitor: Visitor) -> None:
    """A warning of readiness stands above the charts while it holds, in the server's words, and for everybody."""
    visitor.shape(1280, 900, "light")
    visitor.go(child.admin_port)
    visitor.see("#main canvas >> nth=5")
    assert visitor.run("document.querySelectorAll('main .troubles:not([hidden])').length") == 0
    child.write(PAUSED)
    child.reload()
    (warning,) = child.admin("/readyz").json["warnings"]
    assert visitor.see("main .troubles[role=status] li") == f"paused: {warning['message']}"
    for width, height, scheme in SHAPES:
        visitor.shape(width, height, scheme)
        assert visitor.findings() == []
        assert visitor.run("document.documentElement.scrollWidth") == width
    child.write(SECTIONS)
    child.reload()
    visitor.ask("gone", "main .troubles[role=status]")


def test_a_server_that_is_not_ready(child: Child, visitor: Visitor) -> None:
    """Its reasons are an alert, and no failure to answer; what stands in them is text; of many warnings some stand
    there, and one whose age alone goes on is not said anew."""
    visitor.shape(1280, 900, "light")
    before = len(visitor.said())
    visitor.go(child.admin_port)
    visitor.see("#main canvas >> nth=5")
    warnings = [{"warning": "silent", "message": f"source x: nothing for {at} s"} for at in range(1234)]
    readiness = {"reasons": [{"reason": "storage_full", "message": SCRIPT}], "warnings": warnings}
    visitor.run(f"window.readiness = {json.dumps(readiness)}")
    visitor.run(READYZ_SAYS)
    assert visitor.see("main .troubles[role=alert]") == f"Not ready: storage_full: {SCRIPT}"
    assert visitor.run("document.querySelectorAll('.troubles[role=status] li').length") == 11
    assert visitor.see(".troubles[role=status] li >> nth=10") == "1,224 more: tidegate status"
    assert visitor.run("document.querySelectorAll('main img, main script').length") == 0
    assert visitor.run("String(window.hacked) + document.getElementById('state').textContent") == "undefined"
    assert visitor.findings() == []
    visitor.run("window.line = document.querySelector('.troubles[role=status] li')")
    visitor.run("window.readiness.warnings[0].message = 'source x: nothing for 77 s'")
    eventually(lambda: visitor.run("window.line.textContent") == "silent: source x: nothing for 77 s")
    assert visitor.run("window.line.isConnected")
    assert visitor.said()[before:] == []


def test_the_overview_says_what_is_dead_now(child: Child, visitor: Visitor) -> None:
    """Beside the deaths since ever stand those that are dead now, which lead to them; a discarded one is not."""
    child.post("fails", [item("a"), item("b")])
    eventually(lambda: child.admin("/dead").body.count(b"\n") == 2)
    visitor.shape(1280, 900, "light")
    visitor.go(child.admin_port)
    assert "2 in all, 2 now" in visitor.see("tr:has-text('fails'):has-text('2 now')")
    order = json.dumps({"source": "fails", "event_ids": ["a"]}).encode()
    headers = {"Content-Type": "application/json"}
    assert child.admin("/discard", method="POST", body=order, headers=headers).status == 200
    assert "2 in all, 1 now" in visitor.see("tr:has-text('fails'):has-text('1 now')")
    assert visitor.findings() == []
    visitor.click("a:text-is('1 now')")
    visitor.see("#choose-all")
    assert visitor.run("location.hash") == "#/dead?source=fails"
    visitor.go(child.admin_port, "source/fails")
    assert visitor.see(".facts div:has(dt:text-is('dead now')) dd") == "1"


def test_days_left_say_one_thing(child: Child, visitor: Visitor) -> None:
    """A store of which nothing is known yet is not said to be never full, and the other way round."""
    visitor.shape(1280, 900, "light")
    visitor.go(child.admin_port)
    assert "not known yet" in visitor.see("section:has(h2:text-is('Days left')):has-text('not known yet')")
    assert "never full" not in visitor.see("section:has(h2:text-is('Days left'))")
    assert notes(visitor, "{}") == "not known yet"
    assert notes(visitor, "{ measured: null, configured: null }") == "not known yet"
    assert notes(visitor, "{ measured: { days_left: null }, configured: { days_left: 3 } }") == "never full"
    assert notes(visitor, "{ measured: null, configured: { days_left: null } }") == "never full"
    assert notes(visitor, "{ configured: { days_left: 3 } }") == ""


def notes(visitor: Visitor, capacity: str) -> str:
    """What stands beside the days left of a server with this capacity."""
    return str(
        visitor.run(f"""
            Promise.all([import("/page/reading.js"), import("/page/charts.js")]).then(([reading, charts]) => {{
              const now = reading.reading("", {{ sources: [], capacity: {capacity} }}, {{}}, 1);
              const history = new charts.History();
              history.add(1, reading.point(now, now));
              const drawn = charts.charts(history);
              drawn.draw();
              drawn.end();
              return drawn.element.lastChild.querySelector(".note").textContent;
            }})
        """)
    )


def test_readiness_is_asked_for_with_numbers(child: Child, tmp_path: Path) -> None:
    """What is wrong costs one small request beside each reading of the numbers, and none more often."""
    with visiting(tmp_path / "profile") as visitor:
        visitor.take_clock()
        visitor.go(child.admin_port)
        visitor.see("a:text-is('fails')")
        for _ in range(3):
            seen = asked_for(visitor, "/metrics")
            visitor.later(2)
            eventually(lambda seen=seen: asked_for(visitor, "/metrics") > seen)  # type: ignore[misc] # of this turn
        assert asked_for(visitor, "/readyz") == asked_for(visitor, "/metrics")
