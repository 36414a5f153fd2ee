"""The capacity plan of `tidegate check`: the plan follows from the limits, and warns where the machine has less."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from server.base.source import Source
from server.cli.description import describe
from server.config.capacity import EVENT_DISK_BYTES, ID_BYTES, Machine, plan, read_machine, size
from server.config.forecast import DAY_SECONDS
from server.config.load import Config, load
from storage.dedup.index import RUN_EVENTS_MAX

PLENTY = Machine(memory_bytes=2**40, disk_free_bytes=2**45, open_files_max=10**6, disk_total_bytes=2**46)
DIGEST = hashlib.sha256(b"hunter2hunter2").digest()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "tidegate.toml"
    path.write_text('[sources.demo]\ntype = "webhook"\ntokens = ["hunter2hunter2"]\n')
    return load(path, {})


def with_sources(config: Config, *sources: Source) -> Config:
    return replace(config, sources={source.id: source for source in sources})


def source(name: str, rate: float = 0, **more: object) -> Source:
    return Source(name, "webhook", (DIGEST,), rate_limit_events_per_second=rate, **more)  # type: ignore[arg-type]


def test_memory_grows_with_each_limit(config: Config) -> None:
    """Each limit that memory depends on is in the sum."""
    before = plan(config, PLENTY).memory_bytes
    larger = [
        replace(config, queue=replace(config.queue, bytes_max=2**30)),
        replace(config, queue=replace(config.queue, events_max=10**6)),
        replace(config, limits=replace(config.limits, in_flight_bytes_max=2**30)),
        replace(config, limits=replace(config.limits, connections_max=10**5)),
        replace(config, limits=replace(config.limits, decoded_bytes_max=2**28)),
        replace(config, limits=replace(config.limits, json_containers_max=10**8)),
        with_sources(config, source("demo", rate=100)),
        with_sources(config, source("demo", processor="a:b")),
        with_sources(config, source("demo"), source("other")),
    ]
    assert all(plan(each, PLENTY).memory_bytes > before for each in larger)


def test_dedup_and_disk_follow_the_rates(config: Config) -> None:
    """Rates add up; a window of ids costs its bytes and a merge's copy; a day costs its events' bytes on disk."""
    found = plan(with_sources(config, source("a", rate=10), source("b", rate=2.5)), PLENTY)
    dedup = next(part for part in found.memory if part.name == "dedup")
    assert dedup.memory_bytes == (12.5 * 96 * 3600 + RUN_EVENTS_MAX) * ID_BYTES
    assert found.disk_day_bytes == 12.5 * DAY_SECONDS * EVENT_DISK_BYTES
    assert found.unlimited == ()
    by_body = source("b", rate=2.5, same_body="duplicate")
    found = plan(with_sources(config, source("a", rate=10), by_body), PLENTY)
    dedup = next(part for part in found.memory if part.name == "dedup")
    assert dedup.memory_bytes == (15 * 96 * 3600 + RUN_EVENTS_MAX) * ID_BYTES


def test_known_ids_have_a_share_of_memory(config: Config) -> None:
    """By default as many ids are in memory as an eighth of it holds, with room to merge them; check says how many."""
    machine = replace(PLENTY, memory_bytes=2**30)
    found = plan(config, machine)
    assert found.memory_ids_max * ID_BYTES * 5 / 4 == pytest.approx(2**27, rel=0.001)
    assert f"{found.memory_ids_max:,} ids in memory (by an eighth" in describe(config, machine)
    config = replace(config, dedup=replace(config.dedup, memory_ids_max=1000))
    assert plan(config, machine).memory_ids_max == 1000
    assert "1,000 ids in memory (dedup.memory_ids_max)" in describe(config, machine)


def test_ids_beyond_their_share_are_on_disk(config: Config) -> None:
    """What the configured rates add beyond `dedup.memory_ids_max` is disk, and no more memory."""
    config = replace(config, dedup=replace(config.dedup, memory_ids_max=1_000_000))
    found = plan(with_sources(config, source("a", rate=1000)), PLENTY)
    dedup = next(part for part in found.memory if part.name == "dedup")
    assert dedup.memory_bytes == 1_000_000 * ID_BYTES * 2
    assert found.dedup_file_bytes == (1000 * 96 * 3600 - 1_000_000) * ID_BYTES
    assert f"{size(found.dedup_file_bytes)} of the store's disk" in describe(
        with_sources(config, source("a", rate=1000)), PLENTY
    )


def test_an_observed_rate_is_not_a_limit(config: Config) -> None:
    """Sources without a limit, or that only count what is over it, are named as not in the sums."""
    found = plan(with_sources(config, source("a"), source("b", rate=5, over_limit="observe")), PLENTY)
    assert found.unlimited == ("a", "b")
    assert found.disk_day_bytes == 0


def test_a_machine_with_enough_is_not_warned_about(config: Config) -> None:
    """No warning where everything is there."""
    assert plan(config, PLENTY).warnings == ()


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (replace(PLENTY, memory_bytes=2**28), "of memory"),
        (replace(PLENTY, disk_free_bytes=2**30), "storage.map_size_bytes"),
        (replace(PLENTY, open_files_max=1024), "limits.connections_max"),
    ],
)
def test_a_machine_with_less_is_warned_about(config: Config, machine: Machine, words: str) -> None:
    """Each thing that this machine has too little of is one warning, and check prints it."""
    (warning,) = plan(config, machine).warnings
    assert words in warning
    assert f"warning: {warning}" in describe(config, machine)


def test_no_sources_is_a_warning(config: Config) -> None:
    """A server without sources is allowed and pointless, and check says so."""
    assert "no sources" in plan(with_sources(config), PLENTY).warnings[0]
    assert "warning: there are no sources" in describe(with_sources(config), PLENTY)


def test_the_description_has_no_secrets(config: Config) -> None:
    """The description names sources, types, limits and processors, and no secret or hash of one."""
    secrets = (b"hunter2hunter2",)
    orders = source("orders", rate=3, over_limit="drop", processor="shop:handle", signing_secrets=secrets)
    text = describe(with_sources(config, orders), PLENTY)
    for word in ("orders", "webhook", "3 events/s", "drop", "shop:handle", "tokens ***; signing secrets ***", "a day"):
        assert word in text
    assert "hunter2" not in text
    assert DIGEST.hex()[:8] not in text


def test_this_machine_can_be_read(config: Config) -> None:
    """Reading the machine needs no store yet, and finds something of everything."""
    machine = read_machine(config.storage.path / "not" / "there")
    assert min(machine.memory_bytes, machine.disk_free_bytes, machine.open_files_max) > 0
    assert "this machine" in describe(config)


def test_the_stores_own_disk_counts_as_free(config: Config) -> None:
    """Disk that the store's own file takes counts as there for it."""
    config.storage.path.mkdir()
    (config.storage.path / "data.mdb").write_bytes(b"x" * 2**20)
    empty = read_machine(config.path.parent / "elsewhere").disk_free_bytes
    assert read_machine(config.storage.path).disk_free_bytes > empty + 2**19


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1536, "1.5 KiB"),
        (2**30, "1 GiB"),
        (2**40, "1 TiB"),
        (2**60, "1048576 TiB"),
    ],
)
def test_a_size_has_three_digits(count: int, words: str) -> None:
    """A size has three digits and a binary unit."""
    assert size(count) == words
