"""`replay`: archived events are given to a processor anew, by the running server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.base.clock import wall_ms
from server.cli.client import AdminClient, refused_code
from server.cli.exit_codes import ERROR, INTERRUPTED, MISTAKE
from server.cli.failure import CommandFailed, say
from server.cli.interrupt import Interruptible
from server.cli.known_source import check_known_in_store
from server.cli.output import Column, Row, print_record, print_rows
from server.cli.progress import Progress
from server.cli.reading import open_reader
from server.config.toml_text import parse
from server.flow.replaying import Count
from server.intake.replays import target_refusal
from server.observe.event_query import BadQuery
from server.observe.replays import replay_query
from storage.read.replays import DONE, RUNNING
from storage.statuses import EventStatus

POLL_SECONDS = 0.2
"""How often the server is asked how far it is."""

_ASKED = ("since", "until", "type", "id", "event_id", "provider_id")


def asked_for(row: Row) -> str:
    """Return the options that a replay was asked for with; of `--where` the places alone."""
    given = [(name, row[name]) for name in _ASKED if row[name] is not None]
    if row["outcome"] != [EventStatus.PROCESSED.label]:
        given.append(("outcome", ",".join(row["outcome"])))
    given += [("where", path) for path in row["where"]]
    given += [] if row["limit"] is None else [("limit", row["limit"])]
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in given)


BY_SERVER = "the running server replays, and it"
"""What is said before that it cannot be asked."""

COLUMNS = (
    Column("REPLAY", "replay"),
    Column("SOURCE", "source"),
    Column("TO", "to"),
    Column("STATE", "state"),
    Column("REPLAYED", "replayed", is_number=True),
    Column("GONE", "gone", is_number=True),
    Column("STARTED", "started_at"),
    Column("ENDED", "ended_at"),
    Column("ASKED FOR", asked_for),
)

_NAMES = {"event_type": "type", "id_prefix": "id"}
"""What the admin side calls filters, where the options have other names."""


def run(
    config: Path,
    source: str | None,
    *,
    to: str | None,
    dry_run: bool,
    detach: bool,
    stop: str | None,
    listing: bool,
    since: str | None,
    until: str | None,
    outcome: str | None,
    event_type: str | None,
    id_prefix: str | None,
    event_id: str | None,
    provider_id: str | None,
    where: tuple[str, ...],
    limit: int | None,
    shape: str | None,
) -> int:
    """Begin a replay and wait for its end, count what it would replay, stop one, or list all."""
    if [source is not None, stop is not None, listing].count(True) != 1:
        raise CommandFailed(MISTAKE, "say which SOURCE is to be replayed, or --stop ID, or --list")
    if listing:
        with AdminClient(config, why=BY_SERVER) as client:
            print_rows(client.get("/replay", ("replays",))["replays"], COLUMNS, shape)
        return 0
    if stop is not None:
        with AdminClient(config, why=BY_SERVER) as client:
            print_record(client.post("/replay", {"stop": stop}, ("replay",)), shape)
        return 0
    asked = {
        "since": since,
        "until": until,
        "outcome": outcome,
        "event_type": event_type,
        "id_prefix": id_prefix,
        "event_id": event_id,
        "provider_id": provider_id,
        "where": where or None,
        "limit": limit,
    }
    assert source is not None  # since neither of the others was said
    given: dict[str, Any] = {"source": source} | {name: value for name, value in asked.items() if value is not None}
    to = to or source
    check_known_in_store(config, source, to)
    if dry_run:
        return _count(config, to, given, shape)
    return _replay(config, given | {"to": to}, detach=detach, shape=shape)


def _count(config: Path, to: str, asked: Mapping[str, Any], shape: str | None) -> int:
    if (refusal := target_refusal(to, has_processor=_has_processor(config, to))) is not None:
        raise CommandFailed(refused_code(refusal.status), refusal.why)
    try:
        found = Count(replay_query(wall_ms(), **asked))
    except BadQuery as error:
        raise CommandFailed(MISTAKE, str(error)) from None
    with open_reader(config) as reader, Progress("events looked at") as progress:
        while found.step(reader):
            progress.update(found.looked)
    print_record({"dry_run": True, "events": found.events, "gone": found.gone}, shape)
    return 0


def _has_processor(config: Path, source_id: str) -> bool | None:
    """Return whether the configuration gives the source one, whatever else is in it; None if it has no such source."""
    sources = parse(config).get("sources")
    found = sources.get(source_id) if isinstance(sources, dict) else None
    return None if not isinstance(found, dict) else bool(found.get("processor"))


def _replay(config: Path, asked: Mapping[str, Any], *, detach: bool, shape: str | None) -> int:
    command = {
        _NAMES.get(name, name): list(value) if isinstance(value, tuple) else value for name, value in asked.items()
    }
    with AdminClient(config, why=BY_SERVER) as client, Interruptible() as interrupt:
        found = client.post("/replay", command, ("replay",))
        identity = found["replay"]
        with Progress("events replayed") as progress:
            while found["state"] == RUNNING and not detach and not interrupt.is_interrupted:
                interrupt.wait(POLL_SECONDS)
                found = _of(client, identity)
                progress.update(found["replayed"])
    print_record(found, shape)
    if interrupt.is_interrupted:
        say(f"the server goes on with it; to end it, say tidegate replay --stop {identity}")
        return INTERRUPTED
    return 0 if found["state"] == DONE or detach else ERROR


def _of(client: AdminClient, identity: str) -> Mapping[str, Any]:
    for each in client.get("/replay", ("replays",))["replays"]:
        if each["replay"] == identity:
            found: Mapping[str, Any] = each
            return found
    raise CommandFailed(ERROR, f"the server knows no replay {identity} any more")
