"""The README is true: its tour works when it is pasted, and what it names exists."""

import os
import re
import shutil
import signal
import subprocess
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.child import free_port
from server.base.refusal import STATUS
from server.cli.main import parser
from server.config.settings import SECTIONS, SOURCE_SETTINGS, StorageConfig
from server.config.values import settings_of
from storage.lmdb_store.environment import RESERVE_BYTES_MIN, RESERVE_SHARE
from tests.support.config import source
from tests.support.server import ROOT, Children, installed_command
from tests.support.waiting import HANG_SECONDS

pytestmark = pytest.mark.xdist_group("readme")  # one server for all of them

README = (ROOT / "README.md").read_text()
TOUR = README.partition("\n## A tour\n")[2].partition("\n## ")[0]
MARK = "==== exit code"


@dataclass(frozen=True)
class Step:
    """A block of the tour, and what it prints; the output is None where the README shows none."""

    commands: str
    output: str | None


def steps() -> list[Step]:
    blocks = re.findall(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", TOUR, re.DOTALL | re.MULTILINE)
    return [Step(commands, output or None) for commands, output in blocks]


class Place:
    """A directory that looks like a fresh clone after `make install`, with ports of its own."""

    def __init__(self, directory: Path) -> None:
        public, admin = free_port(), free_port()
        self.directory = directory
        loaded = """until curl -s http://127.0.0.1:8081/metrics | grep -q 'received_total.*segment"} [0-9][0-9][0-9]'"""
        self._others = {
            "make install\n": "",
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
        """All blocks in one bash, one after the other: what each printed on stdout, and its exit code."""
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
    """An output without what differs from run to run; white space does, since a terminal gets JSON indented."""
    text = re.sub(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z(?=\")", "TIME", text)
    text = re.sub(r"\b[0-9a-hjkmnp-tv-z]{13}-[a-z2-7]{6}\b", "DELIVERY", text)
    text = re.sub(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", text)
    text = re.sub(r"curl/[0-9.]+", "curl", text)
    text = re.sub(r'"warnings":\[[^]]*]', '"warnings":[]', text)  # the index may not stand yet
    text = re.sub(r"\s+", "", text)
    return re.sub(r"[0-9]+", "N", text) if counts_differ else text


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int]]:
    """The tour, run once."""
    return Place(tmp_path_factory.mktemp("tour")).run([step.commands for step in steps()])


def test_the_tour_can_be_pasted(printed: list[tuple[str, int]]) -> None:
    """Every block of the tour ends with exit code 0."""
    assert [code for _, code in printed] == [0] * len(steps())


def test_the_tour_prints_what_it_shows(printed: list[tuple[str, int]]) -> None:
    """Every output in the tour is what its block prints, but for times, ids, and the counts behind the kill."""
    is_killed = False
    for step, (output, _) in zip(steps(), printed, strict=True):
        is_killed = is_killed or "kill -9" in step.commands
        shown = canonical(step.output or "", counts_differ=is_killed)
        assert canonical(output, counts_differ=is_killed) == shown, step.commands


def test_the_tour_loses_nothing(printed: list[tuple[str, int]]) -> None:
    """What was acknowledged before the kill is received after the restart, and the store verifies."""
    said = "".join(output for output, _ in printed)
    accepted = max(int(each) for each in re.findall(r'"accepted":([0-9]+)', said))
    [received] = re.findall(r'events_received_total\{source="demo-segment"} ([0-9.]+)', said)
    assert accepted > 0
    assert accepted + 2 <= float(received) <= accepted + 2 + 10
    assert '"ok":true' in said


def known_keys() -> dict[str, set[str]]:
    return {name: set(settings_of(section)) for name, section in SECTIONS.items()}


def test_settings_in_the_readme_exist() -> None:
    """Every key in a TOML block, and every `section.key` in the text, is a setting."""
    known = known_keys()
    named = re.findall(r"`(server|storage|limits|queue|dedup)\.([a-z_]+)`", README)
    assert named
    assert [f"{section}.{key}" for section, key in named if key not in known[section]] == []
    for block in re.findall(r"^```toml\n(.*?)^```", README, re.DOTALL | re.MULTILINE):
        for section, table in tomllib.loads(block).items():
            if section == "sources":
                assert all(each.keys() <= SOURCE_SETTINGS.keys() for each in table.values())
            else:
                assert table.keys() <= known[section]


def test_metrics_and_the_readme_agree(children: Children) -> None:
    """Every metric that the README names is exported, and every one that is exported is named."""
    child = children(source("a"))
    child.start()
    exported = re.findall(r"^# TYPE (tidegate_\S+) ", child.admin("/metrics").body.decode(), re.MULTILINE)
    named = {re.sub(r"_(bucket|sum|count)$", "", each) for each in re.findall(r"\btidegate_[a-z_]+", README)}
    assert named == set(exported)


def test_the_alert_for_full_stores_knows_the_reserve() -> None:
    """Its threshold is where a store of the default size refuses deliveries."""
    [share] = re.findall(r"tidegate_store_map_bytes \* ([0-9.]+)", README)
    map_bytes = StorageConfig().map_size_bytes
    assert float(share) == 1 - 1 / RESERVE_SHARE
    assert map_bytes // RESERVE_SHARE > RESERVE_BYTES_MIN


def test_every_command_is_in_the_readme() -> None:
    """`tidegate NAME` stands in the README for every command that --help lists."""
    [commands] = [action for action in parser()._actions if action.choices]
    choices: Any = commands.choices
    assert [name for name in choices if f"`tidegate {name}" not in README] == []


def test_every_code_is_in_the_readme() -> None:
    """Every code that an answer may have is explained."""
    assert [code for code in STATUS if f"`{code}`" not in README] == []


def test_links_in_the_readme_lead_somewhere() -> None:
    """Every relative link names a file, or a heading."""
    lines = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    headings = {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in lines}
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("https://"):
            assert (ROOT / target).exists(), target


def test_every_readiness_warning_is_in_the_readme() -> None:
    """Whatever /readyz may name is explained."""
    warnings = re.findall(r'"warning": "([a-z_]+)"', (ROOT / "server" / "observe" / "health.py").read_text())
    assert warnings
    assert [name for name in warnings if f"warning `{name}`" not in README] == []


def test_tests_and_files_that_the_pages_name_exist() -> None:
    """The guards of the invariants in ARCHITECTURE.md, and every other path, are there."""
    pages = README + (ROOT / "ARCHITECTURE.md").read_text()
    paths = re.findall(r"`((?:server|storage|tests|bench|config)/[a-z_/.]+?)(?:::[a-z_]+)?`", pages)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
    code = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in re.findall(r"::(test_[a-z_]+)", pages) if f"def {name}(" not in code] == []
