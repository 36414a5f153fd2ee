"""The figures to reach, and what was reached by the newest results that have them.

python -m bench.goals [--results DIRECTORY]
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.flat import LIMITS
from bench.report import DIRECTORY

Results = Mapping[str, Any]
"""What a file of results has under that name."""

SINGLES = ("single webhook", "single Segment")
VARYING = "single Segment, varying heads"
HUNDRED, THOUSAND = "batches of 100", "batches of 1000"
PYTHON_OR_NODE = ("granian", "starlette", "fastify")
MOST_IDS = "10 M ids"


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure, and the limit that it is to keep."""

    words: str
    limit: float
    figure: Callable[[Results], float]
    """Raises KeyError where the results do not have it."""
    at_least: bool = False
    unit: str = ""

    def met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


def _faster(workload: str, peers: Sequence[str], limit: float, words: str) -> Goal:
    """How many times the events a second of the best of these peers."""

    def figure(results: Results) -> float:
        found = results["closed_loop"][workload]
        return float(found["tidegate"]["events_per_second"] / max(found[peer]["events_per_second"] for peer in peers))

    return Goal(f"{workload}: events/s by {words}", limit, figure, at_least=True, unit=" ×")


def _quicker(rate: int, peer: str, limit: float, words: str) -> Goal:
    def figure(results: Results) -> float:
        found = results["open_loop"][f"{rate} requests/s"]
        return float(found["tidegate"]["p99_ms"] / found[peer]["p99_ms"])

    return Goal(f"{rate} requests/s: p99 by {words}", limit, figure, unit=" ×")


def _leaner(workload: str, limit: float) -> Goal:
    def figure(results: Results) -> float:
        return float(results["closed_loop"][workload]["tidegate"]["cpu_us_per_event"])

    return Goal(f"{workload}: CPU an event", limit, figure, unit=" µs")


def _disk(workload: str) -> Goal:
    def figure(results: Results) -> float:
        return float(results["closed_loop"][workload]["tidegate"]["disk_by_received"])

    return Goal(f"{workload}: disk by bytes received", 0.3, figure, unit=" ×")


def _lasting(load: str) -> Goal:
    def figure(results: Results) -> float:
        most, empty = (results["growth"][store]["loads"][load] for store in (MOST_IDS, "empty"))
        return float(most["events_per_second"] / empty["events_per_second"])

    return Goal(f"{MOST_IDS}: {load}, events/s by an empty store", 0.8, figure, at_least=True, unit=" ×")


def _full_queues(results: Results) -> float:
    found = results["full_queues"]
    if found["known"] < 10_000_000:
        raise KeyError(MOST_IDS)
    return float(found["anonymous_mb_peak"])


def _flat(name: str) -> Goal:
    """By which part of what is allowed a series of the soak rises."""

    def figure(results: Results) -> float:
        trend = results["soak"]["trends"][name]
        if trend["allowed"] is None:
            raise KeyError(name)
        return float(trend["rise"] / trend["allowed"])

    return Goal(f"soak: {LIMITS[name].words}: rise by what is allowed", 1, figure, unit=" ×")


GOALS = (
    *(_faster(workload, ["go"], 1.2, "Go") for workload in SINGLES),
    *(_faster(workload, ["granian"], 3, "Granian") for workload in SINGLES),
    *(_faster(workload, ["noop"], 1.5, "uvicorn doing nothing") for workload in SINGLES),
    *(_faster(workload, ["quart"], 10, "Tidegate without its fast lane") for workload in SINGLES),
    _faster(VARYING, ["granian"], 2.3, "Granian"),
    _faster(HUNDRED, ["go"], 2.2, "Go"),
    _faster(THOUSAND, ["go"], 2.8, "Go"),
    *(_faster(workload, PYTHON_OR_NODE, 6, "the best in Python or Node") for workload in (HUNDRED, THOUSAND)),
    _quicker(3000, "granian", 0.6, "Granian"),
    _quicker(1000, "granian", 0.7, "Granian"),
    *(_quicker(rate, "go", 1, "Go") for rate in (3000, 1000)),
    *(_leaner(workload, 20) for workload in SINGLES),
    _leaner(THOUSAND, 3.8),
    *(_disk(workload) for workload in (HUNDRED, THOUSAND)),
    *(_lasting(load) for load in ("single Segment", HUNDRED, THOUSAND)),
    Goal(
        f"{MOST_IDS}: ready after opening the store",
        1,
        lambda results: float(results["growth"][MOST_IDS]["ready_after_opening_seconds"]),
        unit=" s",
    ),
    Goal(
        f"{MOST_IDS}: consumers run after the start",
        15,
        lambda results: float(results["growth"][MOST_IDS]["consuming_seconds"]),
        unit=" s",
    ),
    Goal(f"{MOST_IDS}, full queues: RssAnon", 500, _full_queues, unit=" MB"),
    *(_flat(name) for name in LIMITS),
)


def table(files: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: every goal whose figure is in one of these files, the newest of which come first; "" where none is."""
    lines = []
    for goal, value, said in _found(files):
        sign = "≥" if goal.at_least else "≤"
        verdict = "yes" if goal.met(value) else "**no**"
        lines.append(
            f"| {goal.words} | {sign} {goal.limit:g}{goal.unit} | {value:.3g}{goal.unit} | {verdict} "
            f"| {said['at'][:16]}, {said['commit']} |"
        )
    head = ["| figure | to reach | reached | | measured |", "| --- | ---: | ---: | --- | --- |"]
    return "\n".join([*head, *lines] if lines else [])


def missing(files: Sequence[Mapping[str, Any]]) -> list[str]:
    """The goals whose figures are in none of these files."""
    there = {goal.words for goal, _, _ in _found(files)}
    return [goal.words for goal in GOALS if goal.words not in there]


def _found(files: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Goal, float, Mapping[str, Any]]]:
    for goal in GOALS:
        for said in files:
            try:
                yield goal, goal.figure(said["results"]), said
            except KeyError:
                continue
            break


def newest_first(paths: Iterable[Path]) -> list[Any]:
    """Results whose names begin with their times."""
    return [json.loads(path.read_text()) for path in sorted(paths, key=lambda path: path.name, reverse=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=DIRECTORY, help="where the results are")
    files = newest_first(parser.parse_args().results.glob("*.json"))
    print(table(files))
    if silent := missing(files):
        print("\n".join(["\nNot measured:", *(f"- {name}" for name in silent)]))


if __name__ == "__main__":
    main()
