"""The tours of the README and the pages work when pasted, and the metrics in the pages are those of a server."""

import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.child import free_port
from tests.support.config import source
from tests.support.pages import ROOT, all_text, page
from tests.support.server import Children, installed_command
from tests.support.waiting import HANG_SECONDS

TOURS = {
    "README.md": page("README.md").text.partition("\n## A tour\n")[2].partition("\n## ")[0],
    "docs/tour.md": page("docs/tour.md").text,
    "docs/processors.md": page("docs/processors.md").text,
}
BATCHED_BEFORE = {"README.md": 0, "docs/tour.md": 2}
"""Events of `demo-segment` that a tour sends before its load, of the tours that kill the server in one."""

MARK = "==== exit code"


@dataclass(frozen=True)
class Step:
    """A block of a tour, and what it prints; the output is None if the page shows none."""

    commands: str
    output: str | None


@dataclass(frozen=True)
class Walked:
    """A tour, and what came of it."""

    name: str
    steps: list[Step]
    printed: list[tuple[str, int]]
    """What each block printed on stdout, and its exit code."""


def steps_of(tour: str) -> list[Step]:
    blocks = re.findall(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", tour, re.DOTALL | re.MULTILINE)
    return [Step(commands, output or None) for commands, output in blocks]


class Place:
    """A directory that looks like a fresh clone after `make install`, with ports of its own."""

    def __init__(self, directory: Path) -> None:
        public, admin = free_port(), free_port()
        self.directory = directory
        loaded = """until curl -s http://127.0.0.1:8081/metrics | grep -q 'received_total.*segment"} [0-9][0-9][0-9]'"""
        self._others = {
            "make install": ":",
            "sleep 2": f"{loaded}; do sleep 0.1; done",  # on a slow machine nothing may have come so soon
            ":8080": f":{public}",
            ":8081": f":{admin}",
            "/tmp/": f"{directory}/",
        }
        shutil.copytree(ROOT / "config", directory / "config", ignore=shutil.ignore_patterns("data", "__pycache__"))
        config = directory / "config" / "tidegate.toml"
        config.write_text(self.moved(config.read_text()))
        command = directory / ".venv" / "bin" / "tidegate"
        command.parent.mkdir(parents=True)
        command.write_text(f'#!/bin/sh\nexec {" ".join(installed_command())} "$@"\n')
        command.chmod(0o755)

    def moved(self, text: str) -> str:
        for here, there in self._others.items():
            text = text.replace(here, there)
        return text

    def run(self, blocks: list[str]) -> list[tuple[str, int]]:
        """Run all blocks in one bash, one after the other; return what each printed on stdout, and its exit code."""
        script = "".join(f"{self.moved(block)}code=$?; echo; echo '{MARK}' $code\n" for block in blocks)
        with (self.directory / "stderr").open("wb") as errors:
            shell = subprocess.Popen(
                ["bash", "-s"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self.directory,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )
        try:
            said, _ = shell.communicate(script.encode(), HANG_SECONDS)
        finally:  # whatever still runs
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
        parts = re.split(rf"\n{MARK} ([0-9]+)\n", said.decode())
        return [(parts[at], int(parts[at + 1])) for at in range(0, len(parts) - 1, 2)]


def canonical(text: str, *, counts_differ: bool) -> str:
    """Return an output without what differs from run to run; white space does, since a terminal gets JSON indented."""
    text = re.sub(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z(?=\")", "TIME", text)
    text = re.sub(r"\b[0-9a-hjkmnp-tv-z]{13}-[a-z2-7]{6}\b", "DELIVERY", text)
    text = re.sub(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", text)
    text = re.sub(r"curl/[0-9.]+", "curl", text)
    text = re.sub(r'"warnings":\[[^]]*]', '"warnings":[]', text)  # the index may not stand yet
    text = re.sub(r"\s+", "", text)
    return re.sub(r"[0-9]+", "N", text) if counts_differ else text


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in TOURS])
def walked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Walked:
    """One of the tours, run once."""
    steps = steps_of(TOURS[request.param])
    place = Place(tmp_path_factory.mktemp("tour"))
    return Walked(request.param, steps, place.run([step.commands for step in steps]))


def test_tour_can_be_pasted(walked: Walked) -> None:
    """Every block of a tour ends with exit code 0."""
    assert walked.steps
    assert [code for _, code in walked.printed] == [0] * len(walked.steps)


def test_tour_prints_what_it_shows(walked: Walked) -> None:
    """Every output in a tour is what its block prints, but for times, ids, and the counts after the kill."""
    is_killed = False
    for step, (output, _) in zip(walked.steps, walked.printed, strict=True):
        is_killed = is_killed or "kill -9" in step.commands
        shown = canonical(step.output or "", counts_differ=is_killed)
        assert canonical(output, counts_differ=is_killed) == shown, step.commands


def test_tour_loses_nothing_acknowledged(walked: Walked) -> None:
    """What was acknowledged before the kill is received after the restart, and the store verifies."""
    if walked.name not in BATCHED_BEFORE:
        pytest.skip("this tour kills no server")
    said = "".join(output for output, _ in walked.printed)
    accepted = max(int(each) for each in re.findall(r'"accepted":([0-9]+)', said))
    [received] = re.findall(r'events_received_total\{source="demo-segment"} ([0-9.]+)', said)
    before = BATCHED_BEFORE[walked.name]
    assert accepted > 0
    assert accepted + before <= float(received) <= accepted + before + 10
    assert '"ok":true' in said


def test_metrics_and_pages_agree(children: Children) -> None:
    """Every metric that the pages name is exported, and every one that is exported is in the page about metrics."""
    child = children(source("a"))
    child.start()
    exported = set(re.findall(r"^# TYPE (tidegate_\S+) ", child.admin("/metrics").body.decode(), re.MULTILINE))
    in_table = set(re.findall(r"^\| `(tidegate_[a-z_]+)`", page("docs/metrics.md").text, re.MULTILINE))
    named = {re.sub(r"_(bucket|sum|count)$", "", each) for each in re.findall(r"\btidegate_[a-z_]+", all_text())}
    assert in_table == exported
    assert named == exported
