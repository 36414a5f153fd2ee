"""The benchmarks, tiny: each of them still runs, and its checks of the store hold."""

import argparse
import gzip
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from bench import (
    admin,
    beside,
    compare,
    fairness,
    find,
    flat,
    full_queues,
    goals,
    growth,
    guessing,
    latency,
    measure,
    micro,
    overload,
    report,
    requeue,
    retention,
    signed,
    soak,
    wrk,
)
from bench.closed_loop import Run, run_once
from bench.handshake import DUPLICATES
from bench.peers import PEERS, PYTHON, ROOT, Peer
from bench.workload import SEED, WORKLOADS, Workload, pool, with_serial
from server.config.settings import LimitsConfig
from server.intake.decode import decode
from server.intake.parse import Body, parse
from tests.support.debian import install
from tests.support.waiting import HANG_SECONDS

SINGLE = next(each for each in WORKLOADS if each.name == "single Segment")

pytestmark = pytest.mark.xdist_group("bench")


@pytest.fixture(scope="module")
def _wrk() -> None:
    """The load generator, which no package of Python's brings: installed where it is missing."""
    if not wrk.installed():
        complaint = install("wrk")
        assert wrk.installed(), f"wrk is missing, and as root: {complaint}"


NEEDS_WRK = pytest.mark.usefixtures("_wrk")


def test_guesses_at_sources_are_measured() -> None:
    """Each kind of guess is refused, and takes some time."""
    found = guessing.medians(10)
    assert list(found) == list(guessing.NAMES)
    assert all(found.values())


def test_every_micro_step_takes_time() -> None:
    """Every step of the micro benchmarks runs and takes some time."""
    found = micro.measure(events=3, rounds=1)
    assert {"parse", "normalise", "rate limit", "encode the block", "commit"} <= found.keys()
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
def test_wrk_gives_each_body_its_own_ids(tmp_path: Path) -> None:
    """Under wrk, heads varying, no two events share an id: none of them is a duplicate."""
    workload = Workload("tiny", "segment", 3, connections=2, vary=True)
    pool = wrk.write_pool(workload, tmp_path / "pool", events=6)
    run = run_once(PEERS["tidegate"], pool, 1, 0, cores=(None, None))
    assert run.refused == 0
    assert run.tidegate["duplicates"] == DUPLICATES["segment"]
    assert run.tidegate["verified"] is True


@NEEDS_WRK
def test_repeated_events_are_duplicates(tmp_path: Path) -> None:
    """Of a workload with duplicates, about that share of what was sent is found to be duplicate."""
    workload = Workload("tiny", "segment", 10, connections=2, repeated=0.1)
    pool = wrk.write_pool(workload, tmp_path / "pool", events=20)
    run = run_once(PEERS["tidegate"], pool, 1, 0, cores=(None, None))
    stored, duplicates = run.tidegate["stored"], run.tidegate["duplicates"]
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
    assert "| tiny | Go, fasthttp, Badger | 2.00 × | 1.00 × | 50 |" in report.rows("tiny", results["tiny"])
    said = orjson.loads(report.write(results, tmp_path, "tiny", {}).read_bytes())
    assert said["results"] == results
    assert {"at", "commit", "machine", "versions"} <= said.keys()


@pytest.fixture
def _our_sigterm() -> Iterator[None]:
    """A benchmark's command line takes SIGTERM over: here it gives it back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_our_sigterm")
@pytest.mark.parametrize("all_fail", [False, True])
def test_a_failed_run_loses_no_other(
    all_fail: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Failed runs are in the results with their reasons, beside the medians of the others, and the end is 1; without a
    figure of one server the results are a part."""
    rates = {"Tidegate": iter([10.0, 20.0, 30.0, 40.0]), "Go, fasthttp, Badger": iter([5.0, 0.0, 7.0, 8.0])}

    def run(peer: Peer, pool: wrk.Pool, _: float) -> Run:
        rate = next(rates[peer.title])
        if not rate or (all_fail and peer.title != "Tidegate" and pool.workload is SINGLE):
            raise RuntimeError("2 connections broke")
        return Run(rate, 1.0, 1.0, 1.0, 1.0, 0, 1.0, 0.0, 1, 1)

    batches = next(each for each in WORKLOADS if each.name == "batches of 100")
    monkeypatch.setattr(compare, "run_once", run)
    monkeypatch.setattr(compare, "WORKLOADS", [SINGLE, batches])
    monkeypatch.setattr(compare, "PEERS", {name: PEERS[name] for name in ("tidegate", "go")})
    monkeypatch.setattr(report, "built", list)
    monkeypatch.setattr(sys, "argv", ["compare", "--repeats", "2", "--results", str(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        compare.main()
    [path] = tmp_path.iterdir()
    found = orjson.loads(path.read_bytes())["results"]
    failed = {"workload": SINGLE.name, "peer": "go", "reason": "RuntimeError: 2 connections broke"}
    assert found["failed"] == [failed] * (2 if all_fail else 1)
    assert path.stem.endswith("-compare-part") is all_fail
    medians = {
        name: {peer: said["events_per_second"] for peer, said in peers.items()}
        for name, peers in found["closed_loop"].items()
    }
    of_go = {} if all_fail else {"go": 5.0}
    assert medians == {SINGLE.name: {"tidegate": 15.0, **of_go}, batches.name: {"tidegate": 35.0, "go": 7.5}}
    out, err = capsys.readouterr()
    assert f"| {batches.name} | Tidegate |" in out
    assert err.splitlines()[-2] == f"{SINGLE.name}: Go, fasthttp, Badger: failed: RuntimeError: 2 connections broke"


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


def test_a_wrong_name_is_refused_with_the_choices() -> None:
    """An option of names takes those that there are, and refuses another one by naming them all."""
    parse = report.some_of(["one", "two"], ";")
    assert parse("two; one") == ["two", "one"]
    with pytest.raises(argparse.ArgumentTypeError, match="three: no such name; choose some of: one; two"):
        parse("one;three")


@NEEDS_WRK
@pytest.mark.parametrize("name", ["compare", "latency", "growth", "soak", "goals", "measure", "micro"])
def test_each_command_line_says_what_it_takes(name: str) -> None:
    """`--help` is printed, with every default in it."""
    said = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", "--help"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert "usage: " in said.stdout


@pytest.mark.parametrize(
    "wrong",
    ["compare --seconds 0", "compare --repeats x", "latency --rates 0", "growth --known 5,3", "soak --minutes -1"],
)
def test_a_number_that_cannot_be_is_said(wrong: str) -> None:
    """In one line, before anything is started."""
    name, *options = wrong.split()
    said = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", *options], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert said.returncode == 2
    assert f"argument {options[0]}: " in said.stderr.splitlines()[-1]


def test_a_store_that_was_filled_ahead_works(tmp_path: Path) -> None:
    """A server starts on it, takes load and works all of it off; its times, memory and commits are in the results."""
    stores = list(growth.make(tmp_path, [0, 2000], bulk_gb=0.01))
    found = growth.measure(stores, tmp_path, loads=["single Segment"], seconds=1, warm_seconds=0, cores=(None, None))
    empty, grown, large = found.values()
    assert (empty["known"], grown["known"]) == (0, 2000)
    assert large["store_gb"] >= grown["store_gb"] + 0.01
    assert 0 < grown["ready_after_opening_seconds"] <= grown["ready_seconds"] <= grown["consuming_seconds"]
    assert grown["loads"]["single Segment"]["commit_p50_ms"] > 0
    assert growth.table(found).count("| 0.002 M ids |") == 2


def test_full_queues_are_full_and_end_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """With processors that hold on, memory is measured while every queue is full; then every event is worked off."""
    monkeypatch.setattr(full_queues, "SOURCES", full_queues.SOURCES[:1])
    found = full_queues.measure(None, 0, events=full_queues.QUEUE_EVENTS + 1000, core=None)
    assert found["checks"]["pending"] == 0


def test_dead_events_come_back_in_bulk() -> None:
    """All of them are processed once more, in batches, and the store is whole."""
    found = requeue.measure(1000, core=None)
    assert (found["dead"], found["calls"], found["checks"]["verified"]) == (1000, 2, True)
    assert "| 1,000 |" in requeue.table([found])


def test_a_store_under_retention_stays_whole(tmp_path: Path) -> None:
    """Many times what may stay is written, most of it leaves, and verify finds nothing; both servers are compared."""
    kept = retention.steady(tmp_path / "data", (5, 20), content_bytes=10_000, times=10)
    assert sum(part["steps"] for part in kept["parts"]) > 0
    found = retention.ingest(50, 0.3, 1, core=None)
    assert "| keeps 64 KiB |" in retention.table({"steady": {"small": kept}, "ingest": found})


def test_a_soak_says_what_rises() -> None:
    """Everything at once is answered as it should be, all is in the store at the end, and each series is there."""
    said = soak.measure(seconds=0.4, rate=50, core=None)
    assert said["checks"]["stored"] == said["checks"]["acknowledged"]
    assert set(map(str, (200, *(status for status, _ in beside.REFUSED.values())))) < said["beside"]["statuses"].keys()
    assert (said["beside"]["problems"], said["reloads"]["taken"]) == ([], 1)
    assert {name: len(values) for name, values in said["series"].items()} == dict.fromkeys(flat.LIMITS, 1)
    assert flat.table(said["trends"]).count("\n") == 1 + len(flat.LIMITS)


@pytest.mark.parametrize(
    ("values", "rises"),
    [
        ([*range(16), *[100.0] * 15, 101.0], False),
        ([float(place) for place in range(84, 116)], True),
        ([100.0 + place % 4 for place in range(32)], False),
        ([100.0 + place % 4 + place for place in range(32)], True),
    ],
    ids=["full", "rising", "saw", "rising-saw"],
)
def test_what_rises_in_the_second_half_is_seen(values: list[float], rises: bool) -> None:
    """What fills up and stays is flat; what goes on rising is not, unless it is not judged."""
    times = [float(place) for place in range(32)]
    assert flat.trend("memory_mb", times, values).flat is not rises
    assert flat.trend("memory_mb", times, values, judged=False).flat


def test_quantiles_of_commits_lie_within_their_buckets() -> None:
    """Only what was between the two readings counts, and NaN says that there was nothing."""
    inf = float("inf")
    before, after = {0.001: 5, 0.01: 5, inf: 5}, {0.001: 5, 0.01: 15, inf: 15}
    assert admin.quantile_ms(before, after, 0.5) == pytest.approx(5.5)
    assert admin.quantile_ms(before, before, 0.5) != admin.quantile_ms(before, before, 0.5)


def test_the_newest_figures_judge_the_goals(tmp_path: Path) -> None:
    """A newer file counts where it has the figure, an older one elsewhere; what is nowhere is said."""
    for at, ratio in (("2026-01-01", 1.2), ("2026-01-02", 1.0)):
        trends = {"memory_mb": {"rise": ratio, "allowed": 2}}
        said = {"at": at, "commit": "c", "results": {"soak": {"trends": trends}}}
        (tmp_path / f"{at}-soak.json").write_bytes(orjson.dumps(said))
    (tmp_path / "2026-01-03-growth.json").write_bytes(orjson.dumps({"at": "2026-01-03", "commit": "c", "results": {}}))
    files = goals.newest_first(tmp_path.glob("*.json"))
    assert "| ≤ 1 × | 0.5 × | yes | 2026-01-02, c |" in goals.table(files)
    assert len(goals.missing(files)) == len(goals.GOALS) - 1


@pytest.mark.skipif(not (PYTHON / "python").exists(), reason="bench/peers/setup.sh has not been run")
def test_every_result_gives_its_picture(tmp_path: Path) -> None:
    """Every kind of result gives its picture."""
    run = {"events_per_second": 100.0, "cpu_us_per_event": 5.0, "commit_p50_ms": 1.0, "commit_p99_ms": 2.0}
    latencies = {"p50_ms": 1.0, "p99_ms": 2.0, "p99_9_ms": 3.0}
    store = {"known": 10, "ready_seconds": 1.0, "consuming_seconds": 2.0, "anonymous_mb": 3.0, "loads": {"tiny": run}}
    results: dict[str, dict[str, object]] = {
        "compare": {"closed_loop": {"tiny": {"tidegate": run, "noop": run}}},
        "latency": {"open_loop": {"1 requests/s": {"tidegate": latencies}}},
        "growth": {"growth": {"empty": store, "10 M ids": store}},
        "soak": {"soak": {"times": [0, 60], "series": {name: [1.0, 1.0] for name in flat.LIMITS}}},
    }
    for name, figures in results.items():
        report.write(figures, tmp_path, name, {})
    subprocess.run(
        [PYTHON / "python", "-m", "bench.plots", "--results", tmp_path], cwd=ROOT, check=True, timeout=HANG_SECONDS
    )
    assert {path.stem for path in tmp_path.glob("*.png")} == {"throughput", "cpu", "latency", "growth", "soak"}


def test_a_good_client_is_measured_beside_heavy_ones() -> None:
    """A tiny run has all figures of both clients, and the heavy ones were taken."""
    found = fairness.run_once("tidegate", "containers", connections=2, seconds=0.3, core=None)
    assert found["busy_p50_ms"] > 0
    assert found["heavy_per_second"] > 0


@NEEDS_WRK
def test_signed_requests_are_measured(tmp_path: Path) -> None:
    """A tiny run of signed requests is taken whole, and one whose signatures are another's is no figure."""
    requests = list(signed.requests("github", 2000))
    pool = wrk.write_requests(signed.WORKLOAD, tmp_path / "pool", requests)
    assert signed.run_once(signed.server("github"), pool, 1, cores=(None, None)).events_per_second > 0
    wrong = wrk.write_requests(signed.WORKLOAD, tmp_path / "pool", ((body, requests[0][1]) for body, _ in requests[1:]))
    with pytest.raises(RuntimeError, match="none was taken"):
        signed.run_once(signed.server("github"), wrong, 1, cores=(None, None))


def test_every_heavy_body_is_legal() -> None:
    """Each is at a limit and not over it: it is read, whatever it costs."""
    limits = LimitsConfig()
    for name, make in fairness.HEAVY.items():
        head, _, body = make().partition(b"\r\n\r\n")
        assert len(body) <= limits.body_bytes_max, name
        text = decode(body, b"gzip" if b"gzip" in head else None, limits.decoded_bytes_max)
        assert isinstance(text, bytes), name
        assert isinstance(parse(text, limits.json_containers_max), Body), name


def test_overload_ends_with_all_that_was_accepted() -> None:
    """A tiny open loop over the best rate: the books add up, and its figures are there."""
    found = overload.overload(0.5, core=None)
    assert found["checks"]["verified"]
    assert {"best", "2 times", "5 times"} <= found.keys()


def test_many_sources_are_measured_beside_one() -> None:
    """A tiny run of a few: each was ready, and answered."""
    found = overload.many(0.3, core=None, sources=3, connections=5)
    assert [each["answers"].keys() & {"200"} for each in found.values()] == [{"200"}] * 2


def test_look_ups_are_measured_with_their_cost(tmp_path: Path) -> None:
    """A store of a few segments: everything is found with the index and without, and it has its price."""
    found = find.run(tmp_path / "store", 10_000)
    assert found["look_ups"].keys() == found["without"].keys()  # type: ignore[attr-defined]  # of a dict for JSON
    assert 8 < float(str(found["index_bytes_per_event"])) < 20
