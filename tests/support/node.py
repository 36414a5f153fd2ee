"""Vendors' packages for Node, pinned in tests/node, and a process that answers one line of JSON with another."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.installing import installing
from tests.support.pages import ROOT
from tests.support.waiting import HANG_SECONDS

PINNED = ROOT / "tests" / "node"
INSTALLED = ROOT / "build" / "node"
NODE_MAJOR_MIN = 20
"""What these packages ask for."""


def installed() -> Path:
    """Where the packages are, beside the scripts that use them; skips the test on a machine without Node, or where npm
    finds no registry."""
    if not _has_node():
        pytest.skip(f"takes Node from {NODE_MAJOR_MIN} up, and npm")
    with installing(INSTALLED):
        _install()
    return INSTALLED


def version_of(package: str) -> str:
    """Which release of a package is installed."""
    path = installed() / "node_modules" / package / "package.json"
    return str(json.loads(path.read_text())["version"])


def _has_node() -> bool:
    if not shutil.which("npm") or not shutil.which("node"):
        return False
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.removeprefix("v").partition(".")[0]) >= NODE_MAJOR_MIN


def _install() -> None:
    """Install anew where the pins have changed. What was installed whole has a copy of them as a stamp; a file that is
    the same stays, since a process of another test may be reading it."""
    pins, stamp = (PINNED / "package-lock.json").read_bytes(), INSTALLED / "stamp"
    for file in PINNED.iterdir():
        copy = INSTALLED / file.name
        if not copy.exists() or copy.read_bytes() != file.read_bytes():
            shutil.copy(file, copy)
    if stamp.exists() and stamp.read_bytes() == pins:
        return
    done = subprocess.run(["npm", "ci"], cwd=INSTALLED, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot bring what tests/node pins: {done.stderr[-500:]}")
    stamp.write_bytes(pins)


class Answering:
    """A script of tests/node that answers questions, each a line of JSON, in their order."""

    def __init__(self, script: str) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(["node", str(installed() / script)], stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> "Answering":
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def ask(self, question: object) -> Any:
        """What it answers; raises ValueError if it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        """Ask nothing more; returns when it has ended."""
        self._process.communicate(timeout=HANG_SECONDS)
