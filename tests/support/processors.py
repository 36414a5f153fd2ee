"""Processors for tests, copied beside a configuration: each call is written down, and each event says what befalls it.

`do` in an event's payload: `fail`, `say` (with `value` as its error), `away` (by its own entry), `raise` and `outage`
(the whole batch), `result` (with `value`), `big`, `odd` (with the name of one of `ODD`), `length` (one entry too few),
`hang` (until the gate is open), `die` (the process ends, each time in another way). `times`: only in the first so many
calls that the event is in, even those before a restart.

The gate is a lock on the file `gate`: it is shut while a test holds it, see `books.Gate`.
"""

import ctypes
import fcntl
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

HERE = Path(__file__).parent
Events = list[dict[str, Any]]
ODD = {"complex": {1j}, "large": (10**30 + 1, 10**400)}
ENDS: tuple[Callable[[], object], ...] = (
    lambda: os._exit(1),
    lambda: ctypes.string_at(0),
    lambda: os.kill(os.getpid(), signal.SIGKILL),
)


def note(name: str, /, **line: Any) -> None:
    """Append a line to a file, in one write, so that a kill leaves it whole or out."""
    opened = os.open(HERE / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(opened, json.dumps(line).encode() + b"\n")
    finally:
        os.close(opened)


note("imports", pid=os.getpid())


def plain(events: Events) -> list[Any]:
    """What each event says."""
    return work("plain", events)


def other(events: Events) -> list[Any]:
    """The same under another name."""
    return work("other", events)


async def asynchronous(events: Events) -> list[Any]:
    """The same, on the loop: a gate that is shut stops the whole server."""
    return work("asynchronous", events)


async def pausing(events: Events) -> None:
    """Never comes back by itself; the loop goes on."""
    note("calls", name="pausing", ids=[event["inbound_event_id"] for event in events])
    await trio.sleep_forever()


def silent(events: Events) -> None:
    """Nothing is written down; waits for the gate."""
    wait_for_gate()


def noisy(events: Events) -> list[Any]:
    """As `silent`, with a large result for each event."""
    wait_for_gate()
    return ["x" * 60000 for _ in events]


def noisy_at_last(events: Events) -> list[Any]:
    """Fails in company; alone, in its retry, each event waits for the gate and has a large result."""
    if len(events) > 1:
        return [ValueError("not in company")] * len(events)
    return noisy(events)


def failing(events: Events) -> list[Any]:
    """Each event fails while the file `failing` is there."""
    return [ValueError("not yet") if (HERE / "failing").exists() else None for _ in events]


def first_fails(events: Events) -> list[Any]:
    """Waits for the gate; then only the event with the id `1` fails."""
    note("calls", name="first_fails", ids=[event["inbound_event_id"] for event in events])
    wait_for_gate()
    return [ValueError("it is the first") if event["inbound_event_id"] == "1" else None for event in events]


def always_fails(events: Events) -> list[Any]:
    """Each event fails by its own entry."""
    return [ValueError("it always does")] * len(events)


def work(name: str, events: Events) -> list[Any]:
    ids = [event["inbound_event_id"] for event in events]
    note("calls", name=name, ids=ids)
    return [_one(event) for event in events][: len(events) - _short(events)]


def wait_for_gate() -> None:
    with (HERE / "gate").open("a") as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)


def _one(event: dict[str, Any]) -> Any:
    payload = event["payload"]
    do = payload.get("do") if isinstance(payload, dict) else None
    if do is None or _over(event):
        return None
    if do == "hang":
        wait_for_gate()
    if do == "die":
        ENDS[calls_with(event["inbound_event_id"]) % len(ENDS)]()
    if do == "raise":
        raise ValueError("the batch is bad")
    if do == "outage":
        raise ConnectionError("nobody answers")
    answers = {
        "fail": ValueError("this one is bad"),
        "say": ValueError(payload.get("value")),
        "away": ConnectionError("nobody answers"),
        "result": payload.get("value"),
        "big": "x" * 70000,
    }
    return ODD[payload["value"]] if do == "odd" else answers.get(do)


def _over(event: dict[str, Any]) -> bool:
    """Its times are over."""
    times = event["payload"].get("times")
    return times is not None and calls_with(event["inbound_event_id"]) > times


def calls_with(event_id: str) -> int:
    return sum(event_id in json.loads(line)["ids"] for line in (HERE / "calls").read_text().splitlines())


def _short(events: Events) -> int:
    return int(any(isinstance(event["payload"], dict) and event["payload"].get("do") == "length" for event in events))
