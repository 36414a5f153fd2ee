"""What an SDK may find a server in, and whether what it reported as sent is there once."""

import gzip
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.config import TOKEN, source
from tests.support.ledger import METRICS_OF_TOTALS, check_identity, pending, statuses
from tests.support.relay import (
    BACKLOG,
    BACKLOG_EVENTS,
    HOLDING,
    LAUNCH,
    Happening,
    Relay,
    Request,
    draining,
    full,
    killed_after,
    killed_before,
    overloaded,
    relaying,
    stopped_before,
)
from tests.support.sdks import COUNT, KEY, Sdk
from tests.support.server import Children
from tests.support.waiting import eventually

PROCESSED = METRICS_OF_TOTALS["processed"].format("app")

CONDITIONS: Mapping[str, Mapping[int, tuple[Happening, int | None]]] = {
    "healthy": {},
    "draining": {2: (draining, 200), 3: (stopped_before, None)},
    "overloaded": {2: (overloaded, 429), 3: (overloaded, 429)},
    "killed": {2: (killed_before, None), 3: (killed_after, None)},
    "disk full": {2: (full, 429)},
}
"""By the number of the request: what happens at it, and what it is answered with; None if it is not."""


@dataclass(frozen=True)
class Figures:
    """What one SDK did in one condition."""

    package: str
    version: str
    way: str
    """Of those in which it delivers; "" if it has one."""
    condition: str
    events: int
    sent: int
    """Reported as such."""
    kept: int
    """Of these, those that the store has once."""
    duplicates: int
    seconds: float
    paths: Sequence[str]
    """Of its requests, as what follows."""
    credentials: Sequence[str]
    encodings: Sequence[str]
    types: Sequence[str]


def befallen(
    children: Children, sdk: Sdk, condition: str, *, origins: Sequence[str] = (), fast: bool | None = None
) -> Figures:
    """Let an SDK send to a server in this condition; raise AssertionError unless it reports each event as sent and each
    was processed once. `origins`: of the page that the SDK is in."""
    child = children(sections(origins), launch=LAUNCH, fast=fast)
    child.start()
    expected = CONDITIONS[condition]
    held = BACKLOG_EVENTS * sum(happening is overloaded for happening, _ in expected.values())
    started = time.monotonic()
    with relaying(child, {number: happening for number, (happening, _) in expected.items()}) as relay:
        report = sdk.send(relay.url)
        assert (len(report.sent), list(report.lost), relay.errors) == (COUNT, [], [])
        eventually(lambda: set(report.sent) <= answered(relay))
        eventually(lambda: pending(child, "app") == 0)
        seconds = time.monotonic() - started
    assert [relay.statuses[number - 1] for number in expected] == [status for _, status in expected.values()]
    assert child.metrics()[PROCESSED] == COUNT + held
    once = [statuses(child, "app", each).count("processed") == 1 for each in report.sent]
    assert all(once)
    check_identity(child)
    return Figures(
        sdk.package,
        report.version,
        sdk.way,
        condition,
        events=COUNT,
        sent=len(report.sent),
        kept=sum(once),
        duplicates=int(child.metrics()[METRICS_OF_TOTALS["duplicate"].format("app")]),
        seconds=round(seconds, 1),
        **wire(relay.requests),
    )


def sections(origins: Sequence[str] = ()) -> str:
    """The configuration of a server with the source `app`, for any of CONDITIONS."""
    keys: Mapping[str, object] = {"type": "segment", "tokens": [KEY, TOKEN], "processor": "processors:plain"}
    app = source("app", **keys, cors_origins=[*origins])
    return BACKLOG + app + source(HOLDING, processor="processors:plain")


def answered(relay: Relay) -> set[str]:
    """The ids of the events of which their sender has heard that they are kept."""
    answers = zip(relay.requests, relay.statuses, strict=False)  # a request may be on its way
    return {each["messageId"] for request, status in answers if status == 200 for each in items(request)}


def wire(requests: Sequence[Request]) -> dict[str, Any]:
    """How they came, for `Figures`."""
    return {
        "paths": sorted({each.path for each in requests}),
        "credentials": sorted({_credential(each) for each in requests}),
        "encodings": sorted({each.headers.get("Content-Encoding", "") for each in requests}),
        "types": sorted({each.headers.get("Content-Type", "") for each in requests}),
    }


def items(request: Request) -> Sequence[Mapping[str, Any]]:
    """The events in it."""
    body = _body(request)
    found: Sequence[Mapping[str, Any]] = body.get("batch", [body])
    return found


def _body(request: Request) -> Mapping[str, Any]:
    is_gzip = request.headers.get("Content-Encoding") == "gzip"
    found: Mapping[str, Any] = json.loads(gzip.decompress(request.body) if is_gzip else request.body)
    return found


def _credential(request: Request) -> str:
    """Where the key is, in the order in which a server looks."""
    body = _body(request)
    places = {
        "Basic": request.headers.get("Authorization", "").startswith("Basic "),
        "body": "writeKey" in body,
        "items": any("writeKey" in each for each in body.get("batch", [])),
    }
    return ", ".join(name for name, is_there in places.items() if is_there)
