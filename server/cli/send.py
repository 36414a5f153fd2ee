"""`send`: real requests to a running server, authenticated and signed as the source asks."""

import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from server.base.source import Source
from server.cli.client import Client, NoAnswer, NoServer, ServerAnswer
from server.cli.credentials import read_secret
from server.cli.exit_codes import ERROR, INTERRUPTED, MISTAKE
from server.cli.failure import CommandFailed, say
from server.cli.known_source import configured
from server.cli.output import print_json
from server.cli.progress import Progress
from server.cli.samples import SAMPLE_TYPE, sample
from server.config.load import Config, load, sending_token
from server.intake.auth import digest_of
from server.intake.claims import Message
from server.intake.item_secrets import filled
from server.intake.schemes import SCHEMES, secret_of

ANSWER_SECONDS = 60
"""How long an answer may take: twice the default time for a body."""

ANSWER_KEYS = ("accepted", "deferred", "dropped", "rejected", "delivery")

Bodies = Callable[[], tuple[bytes, list[str]]]
"""Returns the next body, and the ids of its events if they are samples."""


@dataclass(slots=True)
class Summary:
    """Counts what the server answered."""

    sent: int = 0
    accepted: int = 0
    deferred: int = 0
    dropped: int = 0
    rejected: int = 0
    failed: int = 0
    """Requests that were not answered with 200."""
    errors: Counter[str] = field(default_factory=Counter)
    last: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.failed + self.rejected + self.dropped

    def add(self, answer: ServerAnswer, ids: list[str]) -> None:
        """Count an answer; keep a message for the first of each kind of problem."""
        value = answer.value
        if answer.status != 200:
            self.fail(f"{answer.status} {value['code']}", str(value["message"]))
            return
        if value["rejected"] and not self.rejected:
            first = value["rejected"][0]
            self.problems.append(f"rejected: item {first['index']}: {first['message']}")
        self.accepted += value["accepted"]
        self.deferred += value["deferred"]
        self.dropped += value["dropped"]
        self.rejected += len(value["rejected"])
        self.last = {"delivery": value["delivery"]} | ({"event_id": ids[-1]} if ids else {})

    def fail(self, kind: str, words: str) -> None:
        """Count a request that was not accepted."""
        if kind not in self.errors:
            self.problems.append(f"{kind}: {words}")
        self.failed += 1
        self.errors[kind] += 1

    def value(self) -> dict[str, object]:
        return {
            "sent": self.sent,
            "accepted": self.accepted,
            "deferred": self.deferred,
            "dropped": self.dropped,
            "rejected": self.rejected,
            "failed": self.failed,
            "errors": dict(self.errors),
            "last": self.last or None,
        }


def run(
    *, config: Path, source: str, files: Sequence[Path], count: int, batch: int | None, token_from: str | None
) -> int:
    found = load(config)
    target = configured(found, source)
    if files and batch:
        raise CommandFailed(MISTAKE, "--batch is for sample events; a FILE is sent as it is")
    headers = _headers(found, target, token_from)
    bodies = [_read(path) for path in files]
    next_body = _samples(target, batch) if not bodies else _repeated(bodies)
    summary = Summary()
    try:
        _send(found, target, next_body, headers=headers, requests=count * max(1, len(bodies)), summary=summary)
    except KeyboardInterrupt:
        print_json(summary.value())
        return INTERRUPTED
    print_json(summary.value())
    return 0 if summary.ok else ERROR


def _send(
    config: Config, source: Source, next_body: Bodies, *, headers: dict[str, str], requests: int, summary: Summary
) -> None:
    path = f"/ingest/inbound/{source.id}"
    client = Client("server.bind", config.server.bind, ANSWER_SECONDS)
    try:
        with Progress("requests", requests) as progress:
            for number in range(requests):
                body, ids = next_body()
                body = _with_secrets(source, body)
                summary.sent += 1
                try:
                    answer = client.post(path, body, headers | _signature(source, body, ids), ANSWER_KEYS)
                    summary.add(answer, ids)
                except NoServer as error:
                    summary.fail("no answer", str(error))
                    break
                except NoAnswer as error:
                    summary.fail("no answer", str(error))
                progress.update(number + 1)
    finally:
        client.close()
        for words in summary.problems:
            say(words)


def _headers(config: Config, source: Source, token_from: str | None) -> dict[str, str]:
    """Return the headers of every request: the signature comes to them with its body."""
    headers = {"content-type": "application/json"}
    if token_from is not None or source.token_digests:
        headers["authorization"] = f"Bearer {_token(config, source, token_from)}"
    return headers


def _token(config: Config, source: Source, token_from: str | None) -> str:
    if token_from is not None:
        token = read_secret("--token-from", token_from)
        if digest_of(token) not in source.token_digests:
            raise CommandFailed(MISTAKE, f"--token-from: not one of the tokens of source {source.id!r}")
        return token.decode("latin-1")
    known = sending_token(config, source.id)
    if known is None:
        words = "only hashes are configured, and no token can be made from one; say --token-from env:NAME or file:PATH"
        raise CommandFailed(MISTAKE, f"sources.{source.id}.tokens: {words}")
    return known.decode("latin-1")


def _with_secrets(source: Source, body: bytes) -> bytes:
    """Return the body with the source's first secret where its sender would write it, unless one is there."""
    secret = secret_of(source)
    return body if secret is None else filled(body, secret, source.signing_secrets[0].decode())


def _signature(source: Source, body: bytes, ids: Sequence[str]) -> dict[str, str]:
    """Return the headers that the source's sender would sign a body with; its id is a sample's, or a random one."""
    if not source.signing_keys:
        return {}
    event_id = ids[0] if ids else str(uuid.uuid4())
    message = Message(body, source.signing_keys[0], event_id, SAMPLE_TYPE, int(time.time()))
    return SCHEMES[source.signature].sign(message)


def _read(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandFailed(ERROR, f"{path}: {error.strerror}") from None


def _samples(source: Source, batch: int | None) -> Bodies:
    return lambda: sample(source, batch or 1, batched=batch is not None)


def _repeated(bodies: list[bytes]) -> Bodies:
    number = 0

    def next_body() -> tuple[bytes, list[str]]:
        nonlocal number
        number += 1
        return bodies[(number - 1) % len(bodies)], []

    return next_body
