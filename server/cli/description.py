"""What `tidegate check` prints: the listeners, the sources with their secrets masked, and the capacity plan."""

from collections.abc import Iterator
from dataclasses import MISSING, fields

from server.base.source import Source
from server.cli.outlook import describe_empty_store, describe_store
from server.config.capacity import EVENT_DISK_BYTES, ID_BYTES, Machine, Plan, plan, read_machine, size
from server.config.forecast import DAY_SECONDS
from server.config.load import Config

SAMPLE_RATE = 100
"""Events a second for which the plan shows what sources without a rate limit add."""


def describe(config: Config, machine: Machine | None = None) -> str:
    """Return the text, without a final newline or any secret. `machine` defaults to this one."""
    machine = machine or read_machine(config.storage.path)
    return "\n".join(
        [
            f"{config.path} is valid",
            f"listens on {config.server.bind}; admin on {config.server.admin_bind}, "
            + ("token ***" if config.server.admin_token else "without a token"),
            f"store in {config.storage.path}, at most {size(config.storage.map_size_bytes)}",
            "",
            "Sources",
            *(f"  {line}" for source in config.sources.values() for line in _source(source)),
            "",
            "Store",
            *(f"  {line}" for line in describe_store(config, machine)),
            "",
            "Capacity at the configured limits",
            *(f"  {line}" for line in _plan(config, plan(config, machine), machine)),
        ]
    )


def _source(source: Source) -> Iterator[str]:
    yield "; ".join([f"{source.id}: {source.type}", *_secrets(source)])
    yield f"    rate limit: {_rate(source)}"
    yield f"    processor: {source.processor or 'none, archive only'}"
    if source.cors_origins:
        yield f"    pages: {', '.join(origin.decode() for origin in sorted(source.cors_origins))}"
    if source.expect_every_seconds:
        yield f"    expected: something every {source.expect_every_seconds:g} s"
    if source.paused:
        yield "    paused: its events are taken and kept, and wait"
    for name, needed in _without_effect(source):
        yield f"    warning: {name} has no effect without {needed}"


def _secrets(source: Source) -> Iterator[str]:
    if source.token_digests:
        yield "tokens " + ", ".join("***" for _ in source.token_digests)
    if source.signing_secrets:
        yield f"signing secrets {', '.join('***' for _ in source.signing_secrets)} ({source.signature})"


def _without_effect(source: Source) -> Iterator[tuple[str, str]]:
    """Yield the changed settings that have no effect here, each with the setting that it needs."""
    changed = [each.name for each in fields(Source) if each.default not in (MISSING, getattr(source, each.name))]
    if not source.rate_limit_events_per_second:
        needed = "rate_limit_events_per_second"
        yield from ((name, needed) for name in changed if name in ("rate_limit_burst_events", "over_limit"))
    if source.archive_only:
        yield from ((name, "processor") for name in changed if name.startswith("processor_"))


def _rate(source: Source) -> str:
    if not source.rate_limit_events_per_second:
        return "none"
    burst = source.rate_limit_burst_events
    return (
        f"{source.rate_limit_events_per_second:g} events/s, burst {burst or 'one second'}; "
        f"{source.over_limit} what is over it"
    )


def _plan(config: Config, found: Plan, machine: Machine) -> Iterator[str]:
    yield f"memory: {size(found.memory_bytes)} (this machine: {size(machine.memory_bytes)})"
    for part in found.memory:
        yield f"  {part.name:<21} {size(part.memory_bytes):>10}   {part.why}"
    chosen = "dedup.memory_ids_max" if config.dedup.memory_ids_max else "by an eighth of this machine's memory"
    yield f"dedup: {found.memory_ids_max:,} ids in memory ({chosen}), older ones in files of {ID_BYTES} bytes an id"
    if found.dedup_file_bytes:
        yield f"  at the configured rates these files take {size(found.dedup_file_bytes)} of the store's disk"
    yield f"open files: {found.open_files} (allowed here: {machine.open_files_max})"
    if found.disk_day_bytes:
        empty = describe_empty_store(config, machine, found.events_per_second)
        yield f"disk, if the store were empty, events of 1 KB: {empty}"
    if found.unlimited:
        memory, disk = SAMPLE_RATE * found.dedup_bytes_per_rate, SAMPLE_RATE * DAY_SECONDS * EVENT_DISK_BYTES
        yield f"without a rate limit, so not in these sums: {', '.join(found.unlimited)}"
        yield f"  each {SAMPLE_RATE} events/s of theirs add {size(memory)} to dedup and {size(disk)} of disk a day"
    yield from (f"warning: {warning}" for warning in found.warnings)
