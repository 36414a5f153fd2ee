"""Pictures of the newest full results: throughput.png, cpu.png, latency.png, growth.png and soak.png.

    bench/.venv/bin/python -m bench.plots [--results DIRECTORY]

Runs in the benchmarks' own environment, where matplotlib is.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found]
from matplotlib import pyplot

from bench.flat import LIMITS
from bench.goals import newest_first
from bench.peers import PEERS
from bench.report import DIRECTORY

COLOURS = {
    "tidegate": "#0b6e4f",
    "go": "#2a78b8",
    "granian": "#d1495b",
    "starlette": "#edae49",
    "fastify": "#8e6bbf",
    "quart": "#7fb8a4",
    "noop": "#a9b0bb",
    "nginx": "#c9ced6",
}
PERCENTILES = {"p50_ms": "p50", "p99_ms": "p99", "p99_9_ms": "p99.9"}
LOADS = ("#0b6e4f", "#d1495b", "#2a78b8", "#edae49")
GREY = "#e6e8ec"


def dots(said: Mapping[str, Any], figure: str, words: str, path: Path) -> None:
    """A line a workload, a dot a server, logarithmic; Tidegate's says its figure."""
    workloads = said["results"]["closed_loop"]
    chart, panel = pyplot.subplots(figsize=(8, 1.6 + 0.36 * len(workloads)), layout="constrained")
    for name in reversed(list(PEERS)):
        there = [
            (peers[name][figure], at)
            for at, (title, peers) in enumerate(workloads.items())
            if name in peers and _comparable(name, title)
        ]
        if there:
            style = {"s": 90 if name == "tidegate" else 50, "marker": "o" if PEERS[name].same_job else "|"}
            panel.scatter(*zip(*there, strict=True), color=COLOURS[name], label=PEERS[name].title, zorder=3, **style)
    for at, peers in enumerate(workloads.values()):
        ours = peers["tidegate"][figure]
        words_of = f"{ours:,.0f}" if ours >= 100 else f"{ours:.1f}"
        panel.annotate(words_of, (ours, at), (0, 7), textcoords="offset points", ha="center", color=COLOURS["tidegate"])
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.set_yticks(range(len(workloads)), list(workloads))
    panel.set_ylim(len(workloads) - 0.5, -0.7)
    panel.grid(axis="y", color=GREY)
    panel.set_xlabel(words)
    _bare(panel)
    handles, titles = panel.get_legend_handles_labels()
    chart.legend(handles[::-1], titles[::-1], loc="outside right center", frameon=False)
    _save(chart, said, path)


def _comparable(name: str, workload: str) -> bool:
    """A ceiling that only reads a batch is no measure for what a batch costs."""
    return PEERS[name].same_job or workload.startswith("single")


def latency(said: Mapping[str, Any], path: Path) -> None:
    """A panel a rate, a line a server from p50 to p99.9; logarithmic."""
    loads = said["results"]["open_loop"]
    chart, panels = pyplot.subplots(1, len(loads), figsize=(8, 3), squeeze=False, layout="constrained", sharey=True)
    for panel, (title, peers) in zip(panels.flat, loads.items(), strict=True):
        for name, found in peers.items():
            values = [found[key] for key in PERCENTILES]
            width = 2.5 if name == "tidegate" else 1.5
            panel.plot(range(len(values)), values, "o-", color=COLOURS[name], lw=width, ms=5, label=PEERS[name].title)
        panel.set_xticks(range(len(PERCENTILES)), list(PERCENTILES.values()))
        panel.set_yscale("log")
        panel.set_title(title, loc="left")
        panel.grid(axis="y", color=GREY)
        _bare(panel)
    panels[0][0].set_ylabel("ms, from when it was due")
    chart.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    _save(chart, said, path)


def growth(said: Mapping[str, Any], path: Path) -> None:
    """Throughput by the empty store's, start and memory by store."""
    stores = said["results"]["growth"]
    chart, (rates, starts, memory) = pyplot.subplots(1, 3, figsize=(8, 2.6), layout="constrained")
    at = range(len(stores))
    titles = [title.replace(", ", "\n") for title in stores]
    first = next(iter(stores.values()))["loads"]
    for colour, load in zip(LOADS, first, strict=False):
        values = [
            each["loads"][load]["events_per_second"] / first[load]["events_per_second"] for each in stores.values()
        ]
        rates.plot(at, values, "o-", color=colour, label=load)
    rates.axhline(0.8, color="grey", lw=1, ls=":")
    rates.set_ylim(0, rates.get_ylim()[1] * 1.1)
    rates.legend(frameon=False, loc="lower left")
    rates.set_title("events/s, by the empty store's", loc="left")
    starts.bar(at, [each["consuming_seconds"] for each in stores.values()], 0.6, color=GREY, label="consumers run")
    starts.bar(at, [each["ready_seconds"] for each in stores.values()], 0.6, color=LOADS[0], label="ready")
    starts.legend(frameon=False)
    starts.set_title("seconds after the start of the process", loc="left")
    bars = memory.bar(at, [each["anonymous_mb"] for each in stores.values()], 0.6, color=LOADS[0])
    memory.bar_label(bars, fmt="%.0f")
    memory.set_title("RssAnon in MB, before any load", loc="left")
    for panel in (rates, starts, memory):
        panel.set_xticks(at, titles)
        _bare(panel)
    _save(chart, said, path)


def soak(said: Mapping[str, Any], path: Path) -> None:
    """A panel for each series over the time, from 0 up; the half that is judged is shaded."""
    found = said["results"]["soak"]
    minutes = [at / 60 for at in found["times"]]
    chart, panels = pyplot.subplots(len(LIMITS), 1, figsize=(8, 1.4 * len(LIMITS)), sharex=True, layout="constrained")
    for panel, (name, limit) in zip(panels, LIMITS.items(), strict=True):
        values = found["series"][name]
        panel.axvspan(minutes[len(minutes) // 2], minutes[-1], color=GREY, lw=0)
        panel.plot(minutes, values, color=LOADS[0], lw=1)
        panel.set_ylim(0, max(values) * 1.2 or 1)
        panel.set_title(limit.words, loc="left")
        _bare(panel)
    panels[-1].set_xlabel("minutes")
    _save(chart, said, path)


def _bare(panel: Any) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_axisbelow(True)


def _save(chart: Any, said: Mapping[str, Any], path: Path) -> None:
    machine = said["machine"]
    words = f"{said['at'][:10]}, {machine['cpu']}, {machine['cores']} cores, commit {said['commit']}"
    chart.supxlabel(words, fontsize=7, color="grey", x=0.99, ha="right")
    chart.savefig(path, dpi=100)
    pyplot.close(chart)
    print(path)


def draw(directory: Path, newest: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """What there are results for."""
    for said in newest["compare"]:
        dots(
            said,
            "events_per_second",
            "events a second, on one core, fsync before each 200",
            directory / "throughput.png",
        )
        dots(said, "cpu_us_per_event", "CPU time of the server, µs an event", directory / "cpu.png")
    for said in newest["latency"]:
        latency(said, directory / "latency.png")
    for said in newest["growth"]:
        growth(said, directory / "growth.png")
    for said in newest["soak"]:
        soak(said, directory / "soak.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=DIRECTORY, help="where the results are, and the pictures go")
    directory: Path = parser.parse_args().results
    mpl.use("Agg")
    pyplot.rcParams.update({"font.size": 8, "axes.titlesize": 9})
    kinds = ("compare", "latency", "growth", "soak")
    draw(directory, {kind: newest_first(directory.glob(f"*-{kind}.json"))[:1] for kind in kinds})


if __name__ == "__main__":
    main()
