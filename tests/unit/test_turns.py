"""Heavy bodies take turns: who is read when, by a clock that only the test moves."""

from collections.abc import Callable

import pytest
import trio
import trio.testing

from server.http.turns import (
    LIGHT_BYTES_MAX,
    LIGHT_CONTAINERS_MAX,
    PASS_SECONDS,
    REST_SECONDS_MAX,
    REST_SHARE,
    Turns,
    is_light,
)

LONG = PASS_SECONDS * 10
"""What a heavy body takes here; read alone."""


class Reading:
    """Turns with steps that take time and note their names."""

    def __init__(self, clock: trio.testing.MockClock) -> None:
        self._clock = clock
        self.turns = Turns()
        self.done: list[str] = []

    def take(self, name: str, seconds: float = LONG, *, source: str = "demo", is_answered: bool = True) -> None:
        self.turns.take(source, self._step(name, seconds, is_answered=is_answered))

    def _step(self, name: str, seconds: float, *, is_answered: bool) -> Callable[[], None]:
        def step() -> None:
            self._clock.jump(seconds)
            self.done.append(name)
            if is_answered:
                self.turns.answered()

        return step

    async def serve_small(self) -> None:
        """Be served between heavy bodies, as soon as the loop is free, each time."""
        while True:
            await trio.lowlevel.checkpoint()
            if self.done and self.done[-1] != "small":
                self.turns.small_came()
                self.done.append("small")


@pytest.fixture
def clock(mock_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    """A clock that stands still but for the test's jumps; a test must name it for it to count."""
    return mock_clock


def begun(clock: trio.testing.MockClock, nursery: trio.Nursery) -> Reading:
    found = Reading(clock)
    nursery.start_soon(found.turns.run)
    return found


async def test_a_small_request_waits_for_one_body(clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """Of many heavy bodies that wait, one is read before a small request has its turn."""
    reading = begun(clock, nursery)
    nursery.start_soon(reading.serve_small)
    for name in ("first", "second", "third"):
        reading.take(name)
    while len(reading.done) < 2:
        await trio.lowlevel.checkpoint()
    assert reading.done == ["first", "small"]


async def test_heavy_bodies_rest_beside_small_ones(clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """After a small request came they rest for REST_SHARE of what the last one took, to the tick."""
    reading = begun(clock, nursery)
    reading.turns.small_came()
    reading.take("first")
    reading.take("second")
    await trio.testing.wait_all_tasks_blocked()
    assert reading.done == ["first"]
    clock.jump(LONG * REST_SHARE * 0.99)
    await trio.testing.wait_all_tasks_blocked()
    assert reading.done == ["first"]
    clock.jump(LONG * REST_SHARE * 0.02)
    await trio.testing.wait_all_tasks_blocked()
    assert reading.done == ["first", "second"]


async def test_none_is_read_before_the_last_is_answered(clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """Beside small requests the time until a body is on disk counts, and nothing else is read in it."""
    reading = begun(clock, nursery)
    reading.turns.small_came()
    reading.take("first", is_answered=False)
    reading.take("second")
    await trio.testing.wait_all_tasks_blocked()
    clock.jump(LONG * 3)
    await trio.testing.wait_all_tasks_blocked()
    assert reading.done == ["first"]
    reading.turns.answered()
    await trio.testing.wait_all_tasks_blocked()
    clock.jump(LONG * 4 * REST_SHARE * 0.99)
    await trio.testing.wait_all_tasks_blocked()
    assert reading.done == ["first"]
    clock.jump(LONG * 4 * REST_SHARE * 0.02)
    await trio.testing.wait_all_tasks_blocked()
    assert reading.done == ["first", "second"]


async def test_a_machine_that_stood_still_adds_no_rest(clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """A body that took long until it was on disk, as the disk hung, holds up the next no longer than a rest may be."""
    reading = begun(clock, nursery)
    reading.turns.small_came()
    reading.take("first", 60 * REST_SECONDS_MAX)
    reading.take("second")
    await trio.testing.wait_all_tasks_blocked()
    assert reading.done == ["first"]
    clock.jump(REST_SECONDS_MAX)
    await trio.testing.wait_all_tasks_blocked()
    assert reading.done == ["first", "second"]


async def test_without_small_ones_nothing_rests(clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """Heavy bodies alone are read one after the other, whether their answers have come or not."""
    reading = begun(clock, nursery)
    for name in ("first", "second", "third"):
        reading.take(name, is_answered=False)
    await trio.testing.wait_all_tasks_blocked()
    assert reading.done == ["first", "second", "third"]


async def test_quick_bodies_share_one_pass(clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """Bodies are read together until they have taken PASS_SECONDS, so that many cost no more task switches."""
    reading = begun(clock, nursery)
    reading.turns.small_came()
    for at in range(6):
        reading.take(str(at), PASS_SECONDS / 4)
    await trio.testing.wait_all_tasks_blocked()
    assert reading.done == ["0", "1", "2", "3"]


async def test_sources_take_turns_in_order(clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """A source with many heavy bodies does not hold up another's; each source's are read in their order."""
    reading = begun(clock, nursery)
    for name in ("a1", "a2", "a3"):
        reading.take(name, source="a")
    reading.take("b1", source="b")
    reading.take("b2", source="b")
    await trio.testing.wait_all_tasks_blocked()
    assert reading.done == ["a1", "b1", "a2", "b2", "a3"]


@pytest.mark.parametrize(
    ("body", "encoding", "light"),
    [
        (b"x" * LIGHT_BYTES_MAX, None, True),
        (b"x" * (LIGHT_BYTES_MAX + 1), None, False),
        (b"{}", b"gzip", False),
        (b"[" * LIGHT_CONTAINERS_MAX, None, True),
        (b"[" + b"{" * LIGHT_CONTAINERS_MAX, None, False),
    ],
    ids=["at-its-bytes", "over-its-bytes", "encoded", "at-its-containers", "over-its-containers"],
)
def test_a_light_body_is_small_and_plain(body: bytes, encoding: bytes | None, light: bool) -> None:
    """What may take long to read is told by its bytes, its containers, and that it is encoded, without reading it."""
    assert is_light(body, encoding) is light
