"""An older release of a package than the tests' environment has: pinned in tests/python, in a folder of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.installing import installing
from tests.support.pages import ROOT

PINNED = ROOT / "tests" / "python" / "older.txt"
INSTALLED = ROOT / "build" / "python"


def installed() -> Path:
    """The folder, for PYTHONPATH; skips the test where pip finds no registry."""
    with installing(INSTALLED):
        return _install()


def _install() -> Path:
    """Install anew where the pins have changed. What was installed whole has a copy of them as a stamp."""
    packages, stamp = INSTALLED / "packages", INSTALLED / "stamp"
    if stamp.exists() and stamp.read_bytes() == PINNED.read_bytes():
        return packages
    shutil.rmtree(packages, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    command = [*pip, "--target", str(packages), "--requirement", str(PINNED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot bring what tests/python pins: {done.stderr[-500:]}")
    shutil.copy(PINNED, stamp)
    return packages
