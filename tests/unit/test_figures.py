"""The figures in the pages are those of the newest results."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.peers import PEERS
from storage.dedup.runs import ENTRY_BYTES
from tests.support.pages import ROOT, page

RESULTS = ROOT / "bench" / "results"
PAGES = ("README.md", "docs/benchmarks.md")
OTHERS = {
    "go": "Go, fasthttp, Badger",
    "granian": "Granian RSGI",
    "starlette": "Starlette, uvicorn",
    "fastify": "Fastify, lmdb-js",
}
WORKLOADS = (
    "single webhook",
    "single Segment",
    "single Segment, varying heads",
    "batches of 10",
    "batches of 100",
    "batches of 1000",
)

HEAD = f"| load | events/s | CPU µs an event | {' | '.join(OTHERS.values())} |\n"


def newest(name: str) -> Any:
    """Return the newest results with this name: the files' names begin with their time."""
    return json.loads(max(RESULTS.glob(f"*Z-{name}.json")).read_text())


def table() -> str:
    """Return the table of the pages; `python -m tests.unit.test_figures` writes it."""
    closed_loop = newest("compare")["results"]["closed_loop"]
    return f"{HEAD}| --- {'| ---: ' * (2 + len(OTHERS))}|\n" + "".join(
        _row(workload, closed_loop[workload]) for workload in WORKLOADS
    )


def _row(workload: str, found: Any) -> str:
    rate, cpu = found["tidegate"]["events_per_second"], found["tidegate"]["cpu_us_per_event"]
    ratios = "".join(f"{rate / found[name]['events_per_second']:.2f} × | " for name in OTHERS)
    return f"| {workload} | {rate:,.0f} | {cpu:.1f} | {ratios.rstrip()}\n"


def in_page(text: str) -> str:
    """Return the table as a page has it."""
    [found] = re.findall(rf"^{re.escape(HEAD)}(?:\|.*\n)+", text, re.MULTILINE)
    return str(found)


@pytest.mark.parametrize("name", PAGES)
def test_table_has_the_newest_figures(name: str) -> None:
    """The table is made of the newest results, and the page says which machine they are of, and when."""
    assert set(OTHERS) < set(PEERS)
    said, text = newest("compare"), page(name).text
    assert in_page(text) == table()
    assert said["at"][:10] in text
    assert f"with {said['machine']['cores']} cores ({said['machine']['cpu']}" in " ".join(text.split())


@pytest.mark.parametrize("name", PAGES)
def test_latencies_are_the_newest(name: str) -> None:
    """The 99th percentiles at fixed rates are those of the newest results."""
    open_loop, text = newest("latency")["results"]["open_loop"], " ".join(page(name).text.split())
    for rate in (1000, 3000):
        assert f"{open_loop[f'{rate} requests/s']['tidegate']['p99_ms']:.2f} ms" in text


def test_cost_of_a_signature_is_the_newest() -> None:
    """The table of signed sources is made of the newest results, and the page says of which day."""
    said, text = newest("signed"), page("docs/benchmarks.md").text
    assert said["at"][:10] in text
    for name, found in said["results"]["signed"].items():
        rate, share, more = found["events_per_second"], found["of_token_alone"], found["more_cpu_us"]
        assert f"| {name} | {rate:,.0f} | {share:.2f} | {more:.1f} |\n" in text


def test_memory_of_an_id_is_the_newest() -> None:
    """The bytes that the dedup index takes for an id in memory are those of the newest results, of 10 million ids."""
    found = newest("growth")["results"]["growth"]["10 M ids"]["memory_bytes_per_id"]
    assert f"takes {found} bytes an id in memory (measured with 10 million) and {ENTRY_BYTES} in files" in " ".join(
        page("README.md").text.split()
    )


if __name__ == "__main__":
    for path in map(Path, PAGES):
        path.write_text(path.read_text().replace(in_page(path.read_text()), table()))
