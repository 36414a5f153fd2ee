"""Prometheus' promtool, which no package of Python's brings: the machine's, or Debian's, unpacked and not installed.

Installing Debian's package would start a Prometheus.
"""

import os
import shutil
import subprocess
from pathlib import Path

from tests.support.pages import ROOT

UNPACKED = ROOT / "build" / "promtool"


def find() -> Path | None:
    """Return where promtool is, unpacked if need be; None on a machine that has neither it nor apt for this user."""
    there = shutil.which("promtool")
    unpacked = UNPACKED / "usr" / "bin" / "promtool"
    if there or unpacked.exists():
        return Path(there or unpacked)
    return unpacked if shutil.which("apt-get") and _unpack() else None


def _unpack() -> bool:
    UNPACKED.mkdir(parents=True, exist_ok=True)
    download = "apt-get", "download", "prometheus"
    if not _run(*download):
        if os.geteuid() != 0:
            return False
        assert _run("apt-get", "update"), "apt-get update fails"
        assert _run(*download), "promtool is missing, and apt cannot bring it"
    [package] = UNPACKED.glob("prometheus_*.deb")
    assert _run("dpkg-deb", "--extract", str(package), str(UNPACKED)), package
    package.unlink()
    return True


def _run(*command: str) -> bool:
    return subprocess.run(command, cwd=UNPACKED, capture_output=True, check=False).returncode == 0
