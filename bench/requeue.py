"""Dead events on their way back to a processor that is willing again: how long the command and the processing take.

    python -m bench.requeue [--dead 20000,100000]

The store is made first, with nothing but dead events; then `POST /requeue` asks for all of them.
"""

import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from bench import admin, books, filled, report
from bench.child import SERVER_CORE, Child
from bench.handshake import talk
from bench.micro import SOURCE
from bench.peers import tidegate
from bench.starting import start
from bench.workload import SEED

WILLING = "def willing(events):\n    pass\n"

CALLS = re.compile(r'^tidegate_processor_seconds_count\{source="segment"\} (\S+)$', re.MULTILINE)


def measure(dead: int, core: int | None = SERVER_CORE) -> dict[str, Any]:
    """Seconds until the command was answered, and until the last event was processed; the calls that it took.

    Raises RuntimeError where an event did not come back.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        (directory / "willing.py").write_text(WILLING)
        filled.fill_dead(directory / "data", dead, SEED)
        child, _, _ = start(tidegate(more='processor = "willing:willing"'), directory, core)
        try:
            began = time.monotonic()
            requeued = _requeue(child)
            answered = time.monotonic() - began
            books.catch_up(directory / "data")
            finished = time.monotonic() - began
            calls = CALLS.search((admin.get(admin.port_of(child), "/metrics") or b"").decode())
            child.stop()
        finally:
            child.kill()
        checks = books.check(directory / "data", {SOURCE.id: dead})
    if requeued != dead:
        raise RuntimeError(f"{dead} events were dead, and {requeued} were requeued")
    return {
        "dead": dead,
        "answered_seconds": round(answered, 3),
        "finished_seconds": round(finished, 3),
        "calls": int(float(calls[1])) if calls else 0,
        "checks": checks,
    }


def _requeue(child: Child) -> int:
    with talk(admin.port_of(child)) as connection:
        body = orjson.dumps({"source": SOURCE.id, "all": True})
        connection.request("POST", "/requeue", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return int(orjson.loads(answer.read())["requeued"])


def table(found: Sequence[dict[str, Any]]) -> str:
    """For people."""
    lines = ["| dead events | answered after s | processed after s | calls |", "| ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {each['dead']:,} | {each['answered_seconds']:.1f} | {each['finished_seconds']:.1f} | {each['calls']:,} |"
        for each in found
    ]
    return "\n".join(lines)


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--dead", type=report.rising, default=[20_000, 100_000], help="how many (20000,100000)")
    options = parser.parse_args()
    found = [measure(dead) for dead in options.dead]
    print(table(found))
    report.say(str(report.write({"requeue": found}, options.results, "requeue", vars(options))))


if __name__ == "__main__":
    main()
