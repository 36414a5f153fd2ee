"""What a signature costs: signed sources beside one with a token alone, the same bodies, by turns.

    python -m bench.signed [--seconds N] [--repeats N] [--schemes a,b]

Every request is signed before the load begins, since wrk cannot sign: each body is sent once, with the id that it has.
Results go to bench/results, dated, with machine and versions.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import report, wrk
from bench.closed_loop import CORES, Cores, Run, median, stretch
from bench.peers import Peer, source, tidegate
from bench.workload import SEED, Workload, webhook
from server.intake.claims import Message
from server.intake.schemes import SCHEMES

NONE = "token alone"

SECRET = "Zm9yLW1lYXN1cmluZy1vbmx5LWZvci1tZWFzdXJpbmc="
"""Base64, which standard-webhooks needs and the others take as text."""

REQUESTS_MAX = 400_000
"""More than a run sends: another one would be a duplicate."""

WORKLOAD = Workload("signed webhooks", "signed", 1, 256)


def requests(scheme: str, count: int) -> Iterator[tuple[bytes, dict[str, str]]]:
    """Yield bodies with ids of their own, and the headers that sign each."""
    rng, at = random.Random(SEED), int(time.time())
    for serial in range(count):
        body = webhook(rng, f"{serial:08x}.")
        if scheme == NONE:
            yield body, {}
            continue
        row = SCHEMES[scheme]
        yield body, row.sign(Message(body, row.key(SECRET.encode()), f"id-{serial:08x}", "lead.updated", at))


def server(scheme: str) -> Peer:
    """A server whose source `signed` asks for this scheme's signature beside the token."""
    keys = "" if scheme == NONE else f'signing_secrets = ["{SECRET}"]\nsignature = "{scheme}"\n'
    return tidegate(scheme, more=source("signed", "webhook") + keys)


def run_once(peer: Peer, pool: wrk.Pool, seconds: float, *, cores: Cores = CORES) -> Run:
    """A fresh server under these requests. Raises RuntimeError where one is refused or comes twice."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        child, port = peer.start(Path(name), cores[0])
        try:
            run = stretch(peer, child, port, pool, seconds, warm_seconds=0, core=cores[1])
            child.stop()
        finally:
            child.kill()
    if run.refused or run.last_serial > REQUESTS_MAX:
        raise RuntimeError(f"{peer.title}: {run.refused} refused, {run.last_serial} sent of {REQUESTS_MAX}")
    return run


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--seconds", type=report.above_zero, default=5, help="of load in each run (default: 5)")
    parser.add_argument("--repeats", type=report.whole_above_zero, default=5, help="runs of each (default: 5)")
    parser.add_argument(
        "--schemes",
        type=report.some_of(list(SCHEMES), ","),
        default=list(SCHEMES),
        help=f"some of {','.join(SCHEMES)} (default: all)",
    )
    given = parser.parse_args()
    names = [NONE, *given.schemes]
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for repeat in range(given.repeats):
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            with tempfile.TemporaryDirectory(prefix="bench-") as directory:
                pool = wrk.write_requests(WORKLOAD, Path(directory) / "pool", requests(name, REQUESTS_MAX))
                runs[name].append(run_once(server(name), pool, given.seconds))
            report.say(f"{name}: {runs[name][-1].events_per_second:,.0f} events/s")
    found = {name: median(each) | _beside(each, runs[NONE]) for name, each in runs.items()}
    for name, row in found.items():
        report.say(f"{name}: {row['of_token_alone']} of the rate, {row['more_cpu_us']} µs more")
    report.say(str(report.write({"signed": found}, given.results, "signed", vars(given))))


def _beside(runs: Sequence[Run], plain: Sequence[Run]) -> dict[str, float]:
    """The medians of what each run was beside that with a token alone in the same repeat."""
    pairs = list(zip(runs, plain, strict=True))
    return {
        "of_token_alone": round(statistics.median(a.events_per_second / b.events_per_second for a, b in pairs), 3),
        "more_cpu_us": round(statistics.median(a.cpu_us_per_event - b.cpu_us_per_event for a, b in pairs), 2),
    }


if __name__ == "__main__":
    main()
