"""Programs that no package of Python's brings: the machine's, or Debian's, unpacked and not installed.

Installing a package may start a service.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.installing import installing
from tests.support.pages import ROOT


def find(program: str, packages: Sequence[str]) -> Path | None:
    """Return where a program is, unpacked if need be; None on a machine that has neither it nor apt for this user."""
    there = shutil.which(program)
    unpacked = ROOT / "build" / packages[0]
    path = unpacked / "usr" / "bin" / program
    if there or path.exists():
        return Path(there or path)
    return next(unpacked.rglob(f"bin/{program}")) if shutil.which("apt-get") and _unpack(unpacked, packages) else None


def install(*packages: str) -> str:
    """Install these, for root alone; return what apt said if that failed. One process at a time: apt has a lock that it
    does not wait for."""
    with installing(ROOT / "build" / "apt"):
        for command in (("update",), ("install", "--yes", "--no-install-recommends", *packages)):
            done = subprocess.run(["apt-get", *command], capture_output=True, text=True, check=False)
            if done.returncode:
                return f"apt-get {' '.join(command)}: {done.stdout} {done.stderr}"
    return ""


def _unpack(directory: Path, packages: Sequence[str]) -> bool:
    directory.mkdir(parents=True, exist_ok=True)
    download = "apt-get", "download", *packages
    if not _run(directory, *download):
        if os.geteuid() != 0:
            return False
        with installing(ROOT / "build" / "apt"):
            assert _run(directory, "apt-get", "update"), "apt-get update fails"
        assert _run(directory, *download), f"{packages} is missing, and apt cannot bring it"
    for package in directory.glob("*.deb"):
        assert _run(directory, "dpkg-deb", "--extract", str(package), str(directory)), package
        package.unlink()
    return True


def _run(directory: Path, *command: str) -> bool:
    return subprocess.run(command, cwd=directory, capture_output=True, check=False).returncode == 0
