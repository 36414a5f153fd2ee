"""Metrics: plain numbers in, Prometheus' text out."""

import math
import threading
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from server.base.histogram import EVENTS, SECONDS, Histogram
from server.base.refusal import SDK_LATER, STATUS
from server.base.worker import Worker
from server.flow.source_state import SourceState
from server.observe.metrics import TEXT_IDLE_SECONDS_MAX, Metrics, Requests
from storage.statuses import Totals
from tests.support.waiting import HANG_SECONDS

NOW_MS = 1_700_000_100_000

NAMES = {
    "tidegate_requests": "counter",
    "tidegate_request_seconds": "histogram",
    "tidegate_events_received": "counter",
    "tidegate_events_requeued": "counter",
    "tidegate_events_rejected": "counter",
    "tidegate_events_deferred": "counter",
    "tidegate_events_over_limit": "counter",
    "tidegate_events": "counter",
    "tidegate_events_pending": "gauge",
    "tidegate_oldest_pending_seconds": "gauge",
    "tidegate_source_paused": "gauge",
    "tidegate_source_refused": "counter",
    "tidegate_source_last_accepted_timestamp_seconds": "gauge",
    "tidegate_source_silent": "gauge",
    "tidegate_source_overloaded": "gauge",
    "tidegate_source_stuck": "gauge",
    "tidegate_ready": "gauge",
    "tidegate_config_last_reload_successful": "gauge",
    "tidegate_refusal_records_lost": "counter",
    "tidegate_processor_seconds": "histogram",
    "tidegate_processor_failures": "counter",
    "tidegate_journal_seconds": "histogram",
    "tidegate_commit_seconds": "histogram",
    "tidegate_commit_events": "histogram",
    "tidegate_store_used_bytes": "gauge",
    "tidegate_store_map_bytes": "gauge",
    "tidegate_store_full_timestamp_seconds": "gauge",
    "tidegate_log_lines_dropped": "counter",
    "tidegate_build_info": "gauge",
}


class World:
    """What the metrics look at, all of it fake but the states of the sources."""

    def __init__(self, *states: SourceState) -> None:
        self.requests = Requests()
        self.states = list(states)
        self.acknowledger = SimpleNamespace(journal_seconds=Histogram(SECONDS))
        self.committer = SimpleNamespace(
            commit_seconds=Histogram(SECONDS),
            commit_events=Histogram(EVENTS),
            room=SimpleNamespace(used_bytes=4096),
        )
        self.full_at_seconds: float | None = None
        self.refused: dict[str, int] = {}
        self.accepted: int | None = None
        self.silent: bool | None = None
        self.overloaded: bool | None = None
        self.stuck: bool | None = None
        self.is_ready = self.reload_succeeded = True
        self.waiting: dict[tuple[str, int], int | None] = {}
        self.idle: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint

    def received_at(self, source_id: str, number: int) -> int | None:
        return self.waiting[source_id, number]

    async def samples(self) -> dict[str, float]:
        """Each sample by its name, with its labels' values in the order of their names."""
        return {
            "/".join([sample.name, *(sample.labels[key] for key in sorted(sample.labels))]): sample.value
            for family in text_string_to_metric_families((await self.text()).decode())
            for sample in family.samples
        }

    async def text(self) -> bytes:
        fake: Any = self
        clock: Any = SimpleNamespace(now_ms=lambda: NOW_MS)
        refusals: Any = SimpleNamespace(counts=lambda _: self.refused, lost=4)
        watch: Any = SimpleNamespace(accepted_ms=lambda _: self.accepted, is_silent=lambda _: self.silent)
        progress: Any = SimpleNamespace(is_overloaded=lambda _: self.overloaded, is_stuck=lambda _: self.stuck)
        store: Any = SimpleNamespace(map_size_bytes=1 << 30)
        metrics = Metrics(
            requests=self.requests,
            engine=fake,
            acknowledger=fake.acknowledger,
            committer=fake.committer,
            store=store,
            reader=fake,
            worker=Worker("test"),
            idle=self.idle,
            clock=clock,
            refusals=refusals,
            watch=watch,
            progress=progress,
            is_ready=lambda: self.is_ready,
            reload_succeeded=lambda: self.reload_succeeded,
            log_lines_dropped=lambda: 3,
            full_at_seconds=lambda: self.full_at_seconds,
        )
        return await metrics.render()


class Place:
    """A queue whose oldest pending event is this one."""

    behind = True
    cursor = 0

    def __init__(self, number: int, received_at_ms: int) -> None:
        self.found = (number, received_at_ms)

    def oldest(self) -> tuple[int, int]:
        return self.found

    def offer(self, *_: object) -> None:
        raise AssertionError("nothing is offered here")


async def test_every_metric_is_there() -> None:
    """Each metric has its type and a help text, also while nothing has happened."""
    text = (await World(SourceState("demo", Totals())).text()).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {name: families[name].type for name in NAMES} == NAMES
    assert all(families[name].documentation for name in NAMES)
    assert "and failed entries of calls" in families["tidegate_processor_failures"].documentation
    assert "process_resident_memory_bytes" in families
    assert "python_info" in families
    assert families["tidegate_log_lines_dropped"].samples[0].value == 3


async def test_when_the_store_is_full_comes_out() -> None:
    """The date is exported once it is known: +Inf if it never comes, no sample while nobody can say."""
    world, name = World(), "tidegate_store_full_timestamp_seconds"
    assert name not in await world.samples()
    for seconds in (1_800_000_000.0, math.inf):
        world.full_at_seconds = seconds
        assert (await world.samples())[name] == seconds


async def test_what_is_heard_comes_out() -> None:
    """Refusals by code; when something was accepted, once something was; silence where something is expected."""
    world, accepted = World(SourceState("demo", Totals())), "tidegate_source_last_accepted_timestamp_seconds/demo"
    samples = await world.samples()
    assert samples["tidegate_refusal_records_lost_total"] == 4
    troubles = {f"tidegate_source_{name}/demo" for name in ("silent", "overloaded", "stuck")}
    assert not {accepted, *troubles} & samples.keys()
    world.refused, world.accepted, world.silent = {"unauthorized": 3, "timeout": 0}, NOW_MS, True
    samples = await world.samples()
    assert samples["tidegate_source_refused_total/unauthorized/demo"] == 3
    assert samples["tidegate_source_refused_total/timeout/demo"] == 0
    assert samples[accepted] == NOW_MS / 1000
    assert samples["tidegate_source_silent/demo"] == 1
    world.overloaded, world.stuck = True, False
    samples = await world.samples()
    assert (samples["tidegate_source_overloaded/demo"], samples["tidegate_source_stuck/demo"]) == (1, 0)


async def test_every_kind_of_answer_is_there() -> None:
    """Each pair of status and code that the public side may answer with is there at 0 from the start, and no other."""
    samples = await World().samples()
    kinds = {name: value for name, value in samples.items() if name.startswith("tidegate_requests_total")}
    refusals = {
        f"tidegate_requests_total/{code}/{status}"
        for code, status in STATUS.items()
        if code not in {"forbidden", "expired"}
    }
    refusals |= {f"tidegate_requests_total/{code}/429" for code in SDK_LATER}
    others = [f"tidegate_requests_total//{status}" for status in (200, 204, 503)]
    assert kinds == dict.fromkeys([*refusals, *others], 0)


async def test_requests_are_counted_by_status() -> None:
    """Answers are counted by status and code, and their durations fall into cumulative buckets."""
    world = World()
    world.requests.observe(200, "", 0.002)
    world.requests.observe(200, "", 0.2)
    world.requests.observe(503, "overloaded", 100)
    samples = await world.samples()
    assert samples["tidegate_requests_total//200"] == 2
    assert samples["tidegate_requests_total/overloaded/503"] == 1
    assert samples["tidegate_request_seconds_bucket/0.001"] == 0
    assert samples["tidegate_request_seconds_bucket/0.0025"] == 1
    assert samples["tidegate_request_seconds_bucket/30.0"] == 2
    assert samples["tidegate_request_seconds_bucket/+Inf"] == samples["tidegate_request_seconds_count"] == 3
    assert samples["tidegate_request_seconds_sum"] == 100.202


async def test_counts_come_out_by_source() -> None:
    """What the store counts and what the process counts come out under the source's name, and add up."""
    totals = Totals(
        received=20, requeued=1, deferred=4, processed=8, duplicate=5, dropped=3, dead=2, pending=3, deferred_now=1
    )
    state = SourceState("demo", totals)
    state.counts.rejected, state.counts.over_limit, state.counts.processor_failures = 7, 6, 5
    state.processor_seconds.observe(0.3)
    state.queue = Place(18, NOW_MS - 1500)
    samples = await World(state, SourceState("other", Totals())).samples()
    events = {
        outcome: samples[f"tidegate_events_total/{outcome}/demo"]
        for outcome in ("processed", "duplicate", "dropped", "dead")
    }
    assert events == {"processed": 8, "duplicate": 5, "dropped": 3, "dead": 2}
    received, requeued = samples["tidegate_events_received_total/demo"], samples["tidegate_events_requeued_total/demo"]
    assert received + requeued == sum(events.values()) + samples["tidegate_events_pending/demo"]
    assert samples["tidegate_events_deferred_total/demo"] == 4
    assert samples["tidegate_events_rejected_total/demo"] == 7
    assert samples["tidegate_events_over_limit_total/demo"] == 6
    assert samples["tidegate_processor_failures_total/demo"] == 5
    assert samples["tidegate_processor_seconds_count/demo"] == 1
    assert samples["tidegate_processor_seconds_bucket/0.5/demo"] == 1
    assert samples["tidegate_events_received_total/other"] == 0


async def test_age_of_the_oldest() -> None:
    """The age is of the event in memory, or read from disk; 0 where nothing waits, absent where it is not known."""
    ages = {
        "memory": Place(3, NOW_MS - 2500),
        "disk": Place(4, 0),
        "unknown": Place(5, 0),
        "future": Place(6, NOW_MS + 9),
    }
    states = []
    for source_id, place in ages.items():
        state = SourceState(source_id, Totals(received=1, pending=1))
        state.queue = place
        states.append(state)
    removed = SourceState("removed", Totals(received=1, pending=1, oldest=7))
    world = World(*states, removed, SourceState("idle", Totals()))
    world.waiting = {("disk", 4): NOW_MS - 60_000, ("unknown", 5): None, ("removed", 7): NOW_MS - 1000}
    samples = await world.samples()
    found = {name.split("/")[1]: value for name, value in samples.items() if name.startswith("tidegate_oldest_")}
    assert found == {"memory": 2.5, "disk": 60, "future": 0, "removed": 1, "idle": 0}


async def test_text_is_made_outside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on while the text is made: here the text waits for what only the loop does."""
    has_turned = threading.Event()

    def text_of(_: Metric) -> bytes:
        assert has_turned.wait(HANG_SECONDS)
        return b""

    monkeypatch.setattr("server.observe.metrics.text_of", text_of)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(World().text)
        await trio.testing.wait_all_tasks_blocked()
        has_turned.set()


async def test_a_scrape_gives_way_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each family of metrics, as long as its text may be."""
    said = list[str]()

    def text_of(_: Metric) -> bytes:
        said.append("text")
        return b""

    monkeypatch.setattr("server.observe.metrics.give_way", lambda: said.append("gives way"))
    monkeypatch.setattr("server.observe.metrics.text_of", text_of)
    await World().text()
    assert said == ["gives way", "text"] * (len(said) // 2)
    assert len(said) > len(NAMES)


async def test_ages_are_read_outside_the_loop() -> None:
    """The loop goes on while the store is read for what only it knows."""
    has_turned = threading.Event()

    class Waiting(World):
        def received_at(self, source_id: str, number: int) -> int | None:
            assert has_turned.wait(HANG_SECONDS)
            return NOW_MS

    state = SourceState("disk", Totals(pending=1))
    state.queue = Place(7, 0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Waiting(state).text)
        await trio.testing.wait_all_tasks_blocked()
        has_turned.set()


async def test_a_scrape_waits_briefly_for_deliveries(autojump_clock: trio.testing.MockClock) -> None:
    """Each step begins once no delivery waits, or a moment later where they never cease to."""
    world, started = World(), trio.current_time()
    world.idle = trio.sleep_forever
    assert await world.text()
    assert trio.current_time() - started >= TEXT_IDLE_SECONDS_MAX


async def test_readiness_and_reloads_are_gauges() -> None:
    """Each is 1 while all is well, and 0 while deliveries are refused, or after a reload that was refused."""
    world, names = World(), ("tidegate_ready", "tidegate_config_last_reload_successful")
    samples = await world.samples()
    assert [samples[name] for name in names] == [1, 1]
    world.is_ready = False
    samples = await world.samples()
    assert [samples[name] for name in names] == [0, 1]
    world.is_ready, world.reload_succeeded = True, False
    samples = await world.samples()
    assert [samples[name] for name in names] == [1, 0]
