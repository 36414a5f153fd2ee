"""The benchmarks, tiny: each of them still runs, and its checks of the store hold."""

import gzip
import random
from pathlib import Path

import orjson
import pytest

from bench import growth, latency, measure, micro, report, wrk
from bench.compare import run_once
from bench.handshake import DUPLICATES
from bench.peers import PEERS, ROOT
from bench.workload import SEED, WORKLOADS, Workload, pool, with_serial

SINGLE = next(each for each in WORKLOADS if each.name == "single Segment")
NEEDS_WRK = pytest.mark.skipif(not wrk.installed(), reason="wrk is not installed")


def test_micro_steps_run() -> None:
    """Every step of the micro benchmarks runs and takes some time."""
    found = micro.measure(events=3, rounds=1)
    assert {"parse", "facts", "rate limit", "encode the block", "commit"} <= found.keys()
    assert all(each > 0 for each in found.values())


def test_closed_loop_finds_every_acknowledged_event() -> None:
    """A short closed loop against a real server ends with a store that holds what was acknowledged, nothing pending."""
    said = measure.measure(SINGLE, seconds=0.2, connections=2, core=None)
    assert said["refused"] == 0
    assert said["stored"] == said["acknowledged"]
    assert said["verified"] is True


def test_open_loop_finds_every_acknowledged_id() -> None:
    """A short open loop against a real server keeps its rate, and every acknowledged id is in the store."""
    found = latency.run_once(PEERS["tidegate"], per_second=50, seconds=0.3, server_core=None)
    assert 0 < found["p50_ms"] <= found["p99_9_ms"]


@NEEDS_WRK
def test_wrk_sends_each_body_with_ids_of_its_own(tmp_path: Path) -> None:
    """Under wrk, heads varying, no two events share an id: none of them is a duplicate."""
    workload = Workload("tiny", "segment", 3, connections=2, vary=True)
    wrk.write_pool(workload, tmp_path / "pool", events=6)
    run = run_once(PEERS["tidegate"], workload, tmp_path / "pool", 1, 0, cores=(None, None))
    assert run.refused == 0
    assert run.checks["duplicates"] == DUPLICATES["segment"]
    assert run.checks["verified"] is True


@NEEDS_WRK
def test_repeated_events_are_duplicates(tmp_path: Path) -> None:
    """Of a workload with duplicates, about that share of what was sent is found to be duplicate."""
    workload = Workload("tiny", "segment", 10, connections=2, repeated=0.1)
    wrk.write_pool(workload, tmp_path / "pool", events=20)
    run = run_once(PEERS["tidegate"], workload, tmp_path / "pool", 1, 0, cores=(None, None))
    stored, duplicates = run.checks["stored"], run.checks["duplicates"]
    assert isinstance(stored, int)
    assert isinstance(duplicates, int)
    assert 0.05 < (duplicates - DUPLICATES["segment"]) / stored <= 0.1


def test_a_workload_is_the_same_each_time() -> None:
    """Every workload's bodies follow from the seed, and a serial number changes every id but not the length."""
    for workload in WORKLOADS:
        first, second = (list(pool(workload, 2, random.Random(SEED))) for _ in range(2))
        assert first == second
        body = gzip.decompress(first[0]) if workload.gzip else first[0]
        assert len(with_serial(body, 7)) == len(body)
        orjson.loads(body)


def test_packed_bodies_have_ids_of_their_own() -> None:
    """Bodies that wrk cannot change hold different ids from the start."""
    workload = Workload("tiny", "segment", 2, connections=1, gzip=True)
    packed = list(pool(workload, 120, random.Random(SEED)))
    ids = [item["messageId"] for each in packed for item in orjson.loads(gzip.decompress(each))["batch"]]
    assert len(set(ids)) == len(ids) == 240


def test_results_say_where_they_come_from(tmp_path: Path) -> None:
    """A file of results has a date, the machine, versions and the figures; the table puts the ratio first."""
    figures = {"events_per_second": 100.0, "cpu_us_per_event": 5.0, "p99_ms": 1.0, "core_share": 1.0}
    results = {"tiny": {"tidegate": figures, "go": figures | {"events_per_second": 50.0}}}
    assert "| tiny | Go, fasthttp, Badger | 2.00 × | 1.00 × | 50 |" in report.table(results)
    said = orjson.loads(report.write(results, tmp_path, "tiny", {}).read_bytes())
    assert said["results"] == results
    assert {"at", "commit", "machine", "versions"} <= said.keys()


def test_every_peer_has_its_adapter() -> None:
    """What is to be measured exists: one adapter a peer, and everything it installs is pinned with hashes."""
    peers = ROOT / "bench" / "peers"
    for adapter in ("go/main.go", "granian_rsgi.py", "starlette_uvicorn.py", "uvicorn_noop.py", "nginx.conf"):
        assert (peers / adapter).exists()
    lock = (peers / "requirements.lock").read_text()
    for pin in (peers / "requirements.in").read_text().split():
        assert f"{pin} \\\n    --hash=sha256:" in lock
    packages = orjson.loads((peers / "fastify" / "package-lock.json").read_bytes())["packages"]
    assert all("resolved" not in each for each in packages.values())
    assert all("integrity" in each for name, each in packages.items() if name)


@NEEDS_WRK
def test_growth_steps_run() -> None:
    """A store that was filled ahead is one that a server starts on, takes load, and works all of it off."""
    empty, grown = growth.measure([0, 2000], seconds=1, loads=["single Segment"], cores=(None, None))
    assert (empty["known"], grown["known"]) == (0, 2000)
    assert grown["single Segment, events/s"] != 0
