"""Programs in namespaces of their own, as in a container: another set of process numbers, other mounts. Takes root."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.waiting import HANG_SECONDS

ROOT = Path(__file__).parents[2]


def _possible(*options: str) -> bool:
    try:
        return subprocess.run(["unshare", *options, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


needs_mounts = pytest.mark.skipif(not _possible("--mount"), reason="takes mount namespaces")
needs_processes = pytest.mark.skipif(
    not _possible("--mount", "--pid", "--fork", "--mount-proc"), reason="takes process namespaces"
)


def in_namespace(options: Sequence[str], before: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a shell's commands in namespaces with these options of unshare, then this command; return how it ended."""
    return subprocess.run(
        ["unshare", *options, "sh", "-ec", f'{before}\nexec "$@"', "sh", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )


def on_read_only_mount(path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command where this directory is mounted read-only."""
    before = f"mount --bind '{path}' '{path}'; mount -o remount,bind,ro '{path}'"
    return in_namespace(["--mount"], before, *command)


def without_temporary_files(path: Path, *command: str) -> list[str]:
    """Return the words that run a command where all is read-only in which temporary files are made, but for `path`."""
    places = "/tmp /var/tmp /dev/shm"
    before = (
        f"for each in {places}; do mount --bind $each $each; done; mount --bind '{path}' '{path}'\n"
        f"for each in {places}; do mount -o remount,bind,ro $each; done"
    )
    return ["unshare", "--mount", "env", "TMPDIR=/nonexistent", "sh", "-ec", f'{before}\nexec "$@"', "sh", *command]


def tidegate(directory: Path, command: str, *arguments: str) -> list[str]:
    """Return the words of a command with the configuration in this directory."""
    config = str(directory / "tidegate.toml")
    return [sys.executable, "-P", "-m", "server", command, "--config", config, *arguments]


def with_process_number(number: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that has this number among the processes of its own namespace."""
    before = f'echo {number - 1} > /proc/sys/kernel/ns_last_pid; "$@"; exit $?'
    return in_namespace(["--mount", "--pid", "--fork", "--mount-proc"], before, *command)
