"""Pictures of the newest full results: bench/results/throughput.png and latency.png.

    bench/.venv/bin/python -m bench.plots [--results DIRECTORY]

Runs in the benchmarks' own environment, where matplotlib is.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found]
from matplotlib import pyplot

from bench.peers import PEERS
from bench.report import DIRECTORY

OURS, OTHERS, CEILINGS = "#0b6e4f", "#8d99ae", "#dfe3ea"
PERCENTILES = (("p50_ms", "p50"), ("p99_ms", "p99"), ("p99_9_ms", "p99.9"))


def newest(directory: Path, name: str) -> dict[str, Any] | None:
    """The newest results of this name; parts and quick looks have other names."""
    files = sorted(directory.glob(f"*-{name}.json"))
    return json.loads(files[-1].read_text()) if files else None


def colour(name: str) -> str:
    if name == "tidegate":
        return OURS
    return OTHERS if PEERS[name].same_job else CEILINGS


def throughput(said: dict[str, Any], path: Path) -> None:
    """A panel a workload, a bar a server, with events/s and CPU time beside it."""
    workloads = said["results"]["closed_loop"]
    rows = (len(workloads) + 1) // 2
    figure, panels = pyplot.subplots(rows, 2, figsize=(11, 2.7 * rows), squeeze=False, layout="constrained")
    for panel, (title, peers) in zip(panels.flat, workloads.items(), strict=False):
        names = [name for name in peers if PEERS[name].same_job or title.startswith("single")][::-1]
        rates = [peers[name]["events_per_second"] for name in names]
        panel.barh([PEERS[name].title for name in names], rates, color=[colour(name) for name in names])
        panel.set_title(title, loc="left", fontsize=10)
        panel.set_xlim(0, max(rates) * 1.3)
        panel.set_xticks([])
        panel.spines[["top", "right", "bottom"]].set_visible(False)
        for at, name in enumerate(names):
            words = f" {rates[at]:,.0f}/s, {peers[name]['cpu_us_per_event']:.1f} µs"
            panel.text(rates[at], at, words, va="center", fontsize=8)
    for panel in list(panels.flat)[len(workloads) :]:
        panel.axis("off")
    figure.suptitle(f"Events/s and CPU µs an event on one core, fsync before each 200 (grey: ceilings)\n{where(said)}")
    figure.savefig(path, dpi=110)


def latency(said: dict[str, Any], path: Path) -> None:
    """A panel a rate, a group of bars a server; logarithmic."""
    loads = said["results"]["open_loop"]
    figure, panels = pyplot.subplots(1, len(loads), figsize=(11, 3.4), squeeze=False, layout="constrained", sharey=True)
    for panel, (title, peers) in zip(panels.flat, loads.items(), strict=True):
        for at, name in enumerate(peers):
            for place, (key, words) in enumerate(PERCENTILES):
                left = at + (place - 1) * 0.27
                panel.bar(left, peers[name][key], 0.25, color=colour(name), alpha=1 - 0.25 * place)
                panel.text(left, peers[name][key], words, ha="center", va="bottom", fontsize=7)
        panel.set_xticks(range(len(peers)), [PEERS[name].title for name in peers], fontsize=8)
        panel.set_yscale("log")
        panel.set_title(title, loc="left", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("ms, from the time a request was due")
    figure.suptitle(f"Latency in an open loop\n{where(said)}")
    figure.savefig(path, dpi=110)


def where(said: dict[str, Any]) -> str:
    machine = said["machine"]
    return f"{said['at'][:10]}, {machine['cpu']}, {machine['cores']} cores, commit {said['commit']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=DIRECTORY, help="where the results are, and the pictures go")
    directory: Path = parser.parse_args().results
    mpl.use("Agg")
    pyplot.rcParams.update({"font.size": 9, "figure.titlesize": 10})
    for name, file, draw in (("compare", "throughput.png", throughput), ("latency", "latency.png", latency)):
        if (said := newest(directory, name)) is not None:
            draw(said, directory / file)
            print(directory / file)


if __name__ == "__main__":
    main()
