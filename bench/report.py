"""Results: tables for people, ratios first, and dated JSON with machine and versions; and the options that all have."""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.peers import PEERS, ROOT

DIRECTORY = Path(__file__).parent / "results"

Results = dict[str, dict[str, dict[str, Any]]]
"""By workload and peer."""

PACKAGES = ("hypercorn", "lmdb", "numpy", "orjson", "quart", "trio", "zstandard")


HEAD = """\
| workload | server | Tidegate is faster by | CPU by ours | events/s | CPU µs an event | core | p99 ms |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"""
"""Of a table of `rows`."""


def rows(workload: str, peers: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown, ratios first: how many times Tidegate's events/s a server does not reach, and its CPU time by ours."""
    ours = peers.get("tidegate")
    lines = []
    for name, found in peers.items():
        rate, cpu = found["events_per_second"], found["cpu_us_per_event"]
        faster = leaner = ""
        if ours is not None and found is not ours:
            faster = f"{ours['events_per_second'] / rate:.2f} ×"
            leaner = f"{cpu / ours['cpu_us_per_event']:.2f} ×"
        mark = "" if PEERS[name].same_job else " (ceiling)"
        lines.append(
            f"| {workload} | {PEERS[name].title}{mark} | {faster} | {leaner} | {rate:,.0f} | {cpu:.1f} "
            f"| {found['core_share']:.0%} | {found['p99_ms']:.1f} |"
        )
    return "\n".join(lines)


def write(results: Mapping[str, Any], directory: Path, name: str, given: Mapping[str, object]) -> Path:
    """A file named by the time, in UTC, and this name; its path."""
    directory.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    path = directory / f"{now:%Y-%m-%dT%H%M%SZ}-{name}.json"
    said = {
        "at": now.isoformat(timespec="seconds"),
        "commit": _said("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "machine": machine(),
        "versions": versions(),
        "options": {name: str(value) for name, value in given.items() if name != "results"},  # a path of one machine
        "results": results,
    }
    path.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    return path


def machine() -> dict[str, object]:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "kernel": platform.release(),
        "filesystem": _said("stat", "-f", "-c", "%T", tempfile.gettempdir()),  # where the stores are
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    pins = (Path(__file__).parent / "peers" / "requirements.in").read_text().split()
    found["peers"] = ", ".join(pins)
    commands = {"go": ("go", "version"), "node": ("node", "--version"), "nginx": ("nginx", "-v"), "wrk": ("wrk", "-v")}
    return found | {name: _said(*command) for name, command in commands.items()}


def options(about: str | None) -> argparse.ArgumentParser:
    """A parser with what every benchmark has. From here on a SIGTERM ends this process through every `finally`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=DIRECTORY, help="where the results go")
    return parser


def some_of(choices: Sequence[str], separator: str) -> Callable[[str], list[str]]:
    """For an option: a list of names, each of which must be one of these."""

    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(separator)]
        if wrong := [name for name in names if name not in choices]:
            words = (separator + " ").join(wrong)
            raise argparse.ArgumentTypeError(
                f"{words}: no such name; choose some of: {(separator + ' ').join(choices)}"
            )
        return names

    return parse


def above_zero(text: str) -> float:
    """For an option: a number above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: must be above 0")
    return number


def whole_above_zero(text: str) -> int:
    """For an option: a whole number above 0."""
    return round(above_zero(str(int(text))))


def rising(text: str) -> list[int]:
    """For an option: whole numbers from 0 up, each greater than the one before."""
    numbers = [int(number) for number in text.split(",")]
    if numbers != sorted(set(numbers)) or numbers[0] < 0:
        raise argparse.ArgumentTypeError(f"{text}: must be rising numbers from 0 up")
    return numbers


def rates(text: str) -> list[float]:
    """For an option: numbers above 0."""
    return [above_zero(number) for number in text.split(",")]


def built(names: Sequence[str]) -> list[str]:
    """Of these peers, those whose programs are there; the others are named."""
    missing = [name for name in names if not PEERS[name].needs.exists()]
    for name in missing:
        say(f"left out: {PEERS[name].title}: {PEERS[name].needs} is missing; run bench/peers/setup.sh")
    return [name for name in names if name not in missing]


def say(words: str) -> None:
    """To people, while the results go to stdout."""
    print(words, file=sys.stderr, flush=True)


def _said(*command: str) -> str:
    """The first line that a command prints, "" where it fails or there is none."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=False
        )
    except OSError:
        return ""
    # wrk says its version and then fails.
    return ((done.stdout or ("" if done.returncode else done.stderr)).splitlines() or [""])[0]
