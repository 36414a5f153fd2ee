"""`POST` routes: what the admin side can have done. Who does it comes from `runtime/app.py`, as callables."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from quart import Response
from quart_trio import QuartTrio

from server.base.json_text import json_text
from server.base.refusal import Refusal
from server.http.admin.command_bodies import (
    ReplayCommand,
    StopCommand,
    dead_command,
    forget_command,
    replay_command,
    source_command,
    trust_clock_command,
)
from server.http.admin.view import IsSource, Refused, check_source, unwrap
from server.http.answer import Answer
from server.http.asgi.body import up_to
from server.http.asgi.routes import body_reader, response
from server.http.operation import json_of, operation
from server.observe.health import Health
from server.observe.receipts import Value
from server.observe.replays import describe_replay
from storage.read.dead import DeadQuery
from storage.read.query import EventQuery
from storage.read.replays import Replay

DEAD_BODY_BYTES_MAX = 8 * 2**20
"""Room for the largest request: the most ids, of 512 bytes each, escaped."""
REPLAY_BODY_BYTES_MAX = 65536
"""Room for many conditions."""
BODY_BYTES_MAX = 1024
"""Of the others: room for a key, an id of a source, and blanks."""


class DeadReport(Protocol):
    """How many events were given back or discarded, and the ids without a dead event."""

    @property
    def count(self) -> int: ...
    @property
    def unknown(self) -> Sequence[str]: ...


class ForgetReport(Protocol):
    """What was forgotten, which ids were left alone, and whether all of it is overwritten."""

    @property
    def ids(self) -> int: ...
    @property
    def events(self) -> int: ...
    @property
    def pending(self) -> Sequence[str]: ...
    @property
    def unknown(self) -> Sequence[str]: ...
    @property
    def overwritten(self) -> bool: ...


class Forget(Protocol):
    """Forgets all events of some ids."""

    async def __call__(
        self, source_id: str, event_ids: Sequence[str], *, pending: bool, wait: bool
    ) -> ForgetReport | Refusal: ...


class RetryReport(Protocol):
    """How many events waited for a retry of their own, and whether their source waited."""

    @property
    def events(self) -> int: ...
    @property
    def source_waited(self) -> bool: ...


class ReplayCount(Protocol):
    """How many events would be replayed, and of how many that match the bodies are not there any more."""

    @property
    def events(self) -> int: ...
    @property
    def gone(self) -> int: ...


class Replaying(Protocol):
    """What can be done about replays."""

    def report(self) -> Sequence[Replay]: ...
    async def begin(self, query: EventQuery, to: str) -> Replay | Refusal: ...
    async def stop(self, identity: str) -> Replay | Refusal: ...
    async def count(self, query: EventQuery, to: str) -> ReplayCount | Refusal: ...


DoToDead = Callable[[str, DeadQuery], Awaitable[DeadReport | Refusal]]


@dataclass(frozen=True, slots=True)
class Commands:
    """What can be done, by whom. A source is named by its id."""

    requeue: DoToDead
    discard: DoToDead
    forget: Forget
    retry: Callable[[str], RetryReport]
    """Has tried now what waits after a failure."""
    trust_clock: Callable[[bool], Awaitable[dict[str, object] | Refusal]]
    """Believes the wall clock, unless it is a dry run; returns what comes of it."""
    replays: Replaying
    now_ms: Callable[[], int]


def add_commands(app: QuartTrio, commands: Commands, is_source: IsSource, health: Health) -> None:
    """Add the routes."""

    async def read(bytes_max: int) -> bytes:
        return unwrap(await body_reader().read(up_to(bytes_max)))

    def known(source_id: str) -> str:
        unwrap(health.command_refusal())
        check_source(source_id, is_source)
        return source_id

    async def do_to_dead(do: DoToDead, said: str) -> Response:
        command = unwrap(dead_command(await read(DEAD_BODY_BYTES_MAX), commands.now_ms()))
        done = unwrap(await do(known(command.source_id), command.wanted))
        return response(Answer(200, json_text({said: done.count, "unknown": list(done.unknown)})))

    @operation(
        "Give dead events of a source back to its processor.",
        {200: json_of("Requeued")},
        ["not_found"],
        body=json_of("DeadCommand"),
    )
    async def requeue() -> Response:
        return await do_to_dead(commands.requeue, "requeued")

    @operation(
        "Let dead events of a source be, for good: they are not listed, and their bodies go.",
        {200: json_of("Discarded")},
        ["not_found"],
        body=json_of("DeadCommand"),
    )
    async def discard() -> Response:
        return await do_to_dead(commands.discard, "discarded")

    @operation(
        "Forget what all events of some ids held: for good, and whatever has an outcome.",
        {200: json_of("Forgotten")},
        ["not_found"],
        body=json_of("ForgetCommand"),
    )
    async def forget() -> Response:
        command = unwrap(forget_command(await read(DEAD_BODY_BYTES_MAX)))
        done = unwrap(
            await commands.forget(
                known(command.source_id), command.event_ids, pending=command.pending, wait=command.wait
            )
        )
        found = {
            "forgotten": done.ids,
            "events": done.events,
            "pending": list(done.pending),
            "unknown": list(done.unknown),
            "overwritten": done.overwritten,
        }
        return response(Answer(200, json_text(found)))

    @operation(
        "Do now what of a source waits after a failure.",
        {200: json_of("Retried")},
        ["not_found"],
        body=json_of("SourceCommand"),
    )
    async def retry() -> Response:
        found = commands.retry(known(unwrap(source_command(await read(BODY_BYTES_MAX)))))
        return response(Answer(200, json_text({"retried": found.events, "source_waited": found.source_waited})))

    @operation(
        "Give archived events to a processor once more, count them in a dry run, or stop a replay.",
        {200: json_of("Replay")},
        ["not_found", "overloaded"],
        body=json_of("ReplayCommand"),
    )
    async def replay() -> Response:
        command = replay_command(await read(REPLAY_BODY_BYTES_MAX), commands.now_ms())
        if isinstance(command, Refusal):
            raise Refused(command)
        unwrap(health.command_refusal())
        found = await (stop(command) if isinstance(command, StopCommand) else begin(command))
        return response(Answer(200, json_text(found)))

    async def stop(command: StopCommand) -> Value:
        return describe_replay(unwrap(await commands.replays.stop(command.replay)))

    async def begin(command: ReplayCommand) -> Value:
        query = command.query
        for source_id in (query.source_id or "", command.to):
            known(source_id)
        if not command.is_dry_run:
            return describe_replay(unwrap(await commands.replays.begin(query, command.to)))
        found = unwrap(await commands.replays.count(query, command.to))
        return {"dry_run": True, "events": found.events, "gone": found.gone}

    @operation("Every replay on record, and how far it is.", {200: json_of("Replays")}, [])
    async def replays() -> Response:
        return response(
            Answer(200, json_text({"replays": [describe_replay(each) for each in commands.replays.report()]}))
        )

    @operation(
        "Believe the wall clock after a reboot, unless it is a dry run; and what comes of that.",
        {200: json_of("TrustedClock")},
        [],
        body=json_of("TrustClockCommand"),
    )
    async def believe_clock() -> Response:
        dry_run = unwrap(trust_clock_command(await read(BODY_BYTES_MAX)))
        unwrap(health.command_refusal())
        return response(Answer(200, json_text(unwrap(await commands.trust_clock(dry_run)))))

    app.add_url_rule("/replay", view_func=replays, methods=["GET"])
    app.add_url_rule("/replay", view_func=replay, methods=["POST"])
    for name, view in (
        ("requeue", requeue),
        ("discard", discard),
        ("forget", forget),
        ("retry", retry),
        ("trust-clock", believe_clock),
    ):
        app.add_url_rule(f"/{name}", name, view, methods=["POST"])
