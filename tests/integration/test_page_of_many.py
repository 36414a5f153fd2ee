"""The page beside a store of a million events and ten thousand dead ones: it shows a part of them, and says so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.filled import fill, fill_dead
from bench.micro import SOURCE
from tests.support.config import source
from tests.support.server import Child, Children
from tests.support.visiting import Visitor, visiting

pytestmark = pytest.mark.xdist_group("page-of-many")

EVENTS, DEAD = 1_000_000, 10_000
NODES_MAX = 10_000
"""In the page: ten thousand rows would have seven times as many."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    with Children(tmp_path_factory.mktemp("many")) as children:
        child = children(source(SOURCE.id, type="segment"))
        fill(child.store, EVENTS, seed=1)
        fill_dead(child.store, DEAD, seed=2)
        with child:
            yield child


@pytest.fixture
def visitor(tmp_path: Path) -> Iterator[Visitor]:
    with visiting(tmp_path / "profile") as found:
        yield found


def test_a_million_events_are_paged_through(server: Child, visitor: Visitor) -> None:
    """A search of all shows a page of them; a rare one says how far it looked, and goes on from there."""
    visitor.go(server.admin_port, "events")
    assert "50 events" in visitor.see("#found p:has-text('50 events')")
    assert visitor.run("document.querySelectorAll('*').length") < NODES_MAX
    visitor.go(server.admin_port, "events?type=never")
    assert "None found so far" in visitor.see("#found p:has-text('None found')")
    visitor.click("text=Look further")
    visitor.see("#found p:has-text('None found')")
    wanted = server.admin("/events?order=oldest&limit=1").json["events"][0]["inbound_event_id"]
    visitor.go(server.admin_port, "events")
    visitor.type("[name=event_id]", wanted)
    visitor.click("text=Search")
    visitor.click(f"a:text-is('{wanted}')")
    visitor.see(f"pre:has-text('{wanted}')")


def test_ten_thousand_dead_are_given_back(server: Child, visitor: Visitor) -> None:
    """A part of the dead is shown, then more; all of them are given back at once, and the page says so."""
    visitor.go(server.admin_port, f"dead?source={SOURCE.id}")
    assert "the first 200" in visitor.see("caption:has-text('in the order they came')")
    visitor.click("text=Show more")
    visitor.see("caption:has-text('the first 400')")
    assert visitor.run("document.querySelectorAll('*').length") < NODES_MAX
    visitor.click(f"text=Requeue all of {SOURCE.id}")
    visitor.click("#confirm-yes")
    assert visitor.see("#said:not(:empty)") == "10,000 requeued."
    visitor.see("text=No event is dead.")
