"""One server under wrk: warmed up, measured, and its books checked where it is Tidegate's."""

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench import admin, books, wrk
from bench.child import LOAD_CORE, SERVER_CORE, Child
from bench.handshake import ACCEPTED, shake
from bench.peers import Peer
from bench.workload import Workload

WARM_SECONDS = 1
"""Before each measured stretch: connections, caches, the JIT of the peers that have one."""

Cores = tuple[int | None, int | None]
"""Of the server and of the load."""

CORES: Cores = (SERVER_CORE, LOAD_CORE)


@dataclass(frozen=True, slots=True)
class Run:
    """One server under one load."""

    events_per_second: float
    cpu_us_per_event: float
    core_share: float
    """Of its core, that the server used. Well below 1 under a closed loop: something else ran there."""
    p50_ms: float
    p99_ms: float
    refused: int
    anonymous_mb: float
    catch_up_seconds: float
    acknowledged: int
    """Events, those of the warm-up too."""
    last_serial: int
    """No id of it has a greater number."""
    tidegate: dict[str, object] = field(default_factory=dict)
    """What only Tidegate says: commit times, and what its store held at the end."""


def run_once(
    peer: Peer, pool: wrk.Pool, seconds: float, warm_seconds: float = WARM_SECONDS, *, cores: Cores = CORES
) -> Run:
    """A fresh server, a warm-up, the load, the checks. Raises RuntimeError where a check fails."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        child, port = peer.start(directory, cores[0])
        try:
            if peer.same_job:
                shake(port)
            run = stretch(peer, child, port, pool, seconds, warm_seconds=warm_seconds, core=cores[1])
            child.stop()
        finally:
            child.kill()
        if peer.tidegate:
            kind = pool.workload.kind
            acknowledged = {kind: run.acknowledged + ACCEPTED[kind]}
            checks = books.check(directory / "data", acknowledged, unanswered(pool.workload))
            run.tidegate.update(checks, disk_by_received=_disk_by_received(checks, pool))
    return run


def stretch(
    peer: Peer,
    child: Child,
    port: int,
    pool: wrk.Pool,
    seconds: float,
    *,
    warm_seconds: float,
    core: int | None,
    start: int = 0,
) -> Run:
    """A warm-up and the load, on a server that runs, with ids from the numbers after `start`. Raises RuntimeError where
    a connection breaks, no event is taken, or Tidegate is never done."""
    workload, data = pool.workload, child.log.with_name("data")
    warm = wrk.run(pool, port, warm_seconds, core=core, start=start) if warm_seconds else wrk.NO_LOAD
    if peer.tidegate:
        books.catch_up(data)
    commits = admin.commits(child) if peer.tidegate else {}
    before = child.cpu_seconds()
    start += warm.requests + workload.connections
    load = wrk.run(pool, port, seconds, core=core, start=start)
    behind = books.catch_up(data) if peer.tidegate else 0.0
    cpu = child.cpu_seconds() - before
    if load.broken or warm.broken:
        raise RuntimeError(f"{peer.title}: {load.broken + warm.broken} connections broke")
    events = (load.requests - load.refused) * workload.events
    if not events:
        raise RuntimeError(f"{peer.title}: of {load.requests} requests none was taken")
    return Run(
        events_per_second=events / load.seconds,
        cpu_us_per_event=cpu / events * 1e6,
        core_share=cpu / (load.seconds + behind),
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        refused=load.refused,
        anonymous_mb=child.status_kb("RssAnon") / 1024,
        catch_up_seconds=behind,
        acknowledged=events + (warm.requests - warm.refused) * workload.events,
        last_serial=start + load.requests + workload.connections,
        tidegate=_commit_times(commits, admin.commits(child)) if peer.tidegate else {},
    )


def unanswered(workload: Workload) -> int:
    """So many events of a run, at most, were on their way when the warm-up or the load ended."""
    return 2 * workload.connections * workload.events


def median(runs: Sequence[Run]) -> dict[str, object]:
    """The median of each figure, and all runs."""
    said: dict[str, object] = {}
    each = [asdict(run) | run.tidegate for run in runs]
    for name in each[0]:
        values = [run[name] for run in each]
        if isinstance(values[0], float):
            said[name] = round(statistics.median(values), 3)
    return said | {"refused": sum(run.refused for run in runs), "runs": [asdict(run) for run in runs]}


def _commit_times(before: admin.Buckets, after: admin.Buckets) -> dict[str, object]:
    return {
        "commits": after[float("inf")] - before[float("inf")],
        "commit_p50_ms": round(admin.quantile_ms(before, after, 0.5), 3),
        "commit_p99_ms": round(admin.quantile_ms(before, after, 0.99), 3),
    }


def _disk_by_received(checks: dict[str, object], pool: wrk.Pool) -> float:
    """Bytes of the store's pages in use, for each byte of the bodies that came, of a store that has only these."""
    return round(float(str(checks["disk_bytes_per_event"])) * pool.workload.events / pool.body_bytes, 3)
