"""Closed-loop load by wrk: one thread on a core of its own, bodies from a pool file."""

import json
import random
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.child import HANG_SECONDS
from bench.workload import SEED, TOKEN, Workload, pool

POOL_EVENTS = 5000
"""Distinct events in a pool; sent again and again with other ids."""

PACKED_EVENTS = 600_000
"""The same where bodies are packed and cannot get other ids: as many as a server takes within a run. Where one takes
more, the rest are duplicates, which cost it no less to receive."""


@dataclass(frozen=True, slots=True)
class Closed:
    """What wrk saw. Requests that have an answer, whatever its status."""

    requests: int
    seconds: float
    refused: int
    """Answers that are not 200."""
    broken: int
    """Connections that failed, and answers that took longer than wrk waits."""
    p50_ms: float
    p99_ms: float


NO_LOAD = Closed(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Pool:
    """Bodies of one workload, in a file."""

    workload: Workload
    path: Path
    body_bytes: float
    """The mean."""


def installed() -> bool:
    """Whether there is a wrk, and what it is started with."""
    return all(shutil.which(program) for program in ("wrk", "setpriv", "taskset"))


def write_pool(workload: Workload, path: Path, events: int | None = None) -> Pool:
    """The bodies of a workload, in this file."""
    wanted = events or (PACKED_EVENTS if workload.gzip else POOL_EVENTS)
    count = max(1, wanted // workload.events)
    return write_requests(workload, path, ((body, {}) for body in pool(workload, count, random.Random(SEED))))


def write_requests(workload: Workload, path: Path, requests: Iterable[tuple[bytes, Mapping[str, str]]]) -> Pool:
    """These bodies in this file, with headers of their own."""
    total = count = 0
    with path.open("wb") as file:
        for body, headers in requests:
            own = "".join(f"\t{name}: {value}" for name, value in headers.items())
            file.write(b"%d%b\n%b" % (len(body), own.encode(), body))
            total += len(body)
            count += 1
    return Pool(workload, path, total / count)


def run(bodies: Pool, port: int, seconds: float, *, core: int | None, start: int = 0) -> Closed:
    """Load for so long, with ids that follow from the numbers after `start`: a second load on the same server starts
    behind the first one. Raises CalledProcessError or TimeoutExpired where wrk fails or does not end."""
    pinned = ["setpriv", "--pdeathsig", "KILL", *(["taskset", "-c", str(core)] if core is not None else [])]
    workload = bodies.workload
    options = [word for word, wanted in (("vary", workload.vary), ("gzip", workload.gzip)) if wanted]
    command = [
        *pinned, "wrk", "--threads", "1", "--connections", str(workload.connections),
        "--duration", f"{seconds:.0f}s", "--timeout", "20s",
        "--script", str(Path(__file__).with_name("requests.lua")),
        f"http://127.0.0.1:{port}/ingest/inbound/{workload.kind}", "--", str(bodies.path), TOKEN, str(start), *options,
    ]  # fmt: skip
    said = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + HANG_SECONDS,
    )
    return Closed(**json.loads(said.stdout.splitlines()[-1]))
