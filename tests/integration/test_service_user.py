"""Commands of somebody who is not the service's user: what they are told, on a real file system."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.lmdb_store.environment import Store
from tests.support.config import source
from tests.support.pages import ROOT
from tests.support.store import MAP_SIZE_BYTES
from tests.support.waiting import HANG_SECONDS

OWNER, SOMEBODY = 1, 65534
"""The user `daemon`, and nobody: both are on every Linux."""


def is_open(path: Path) -> bool:
    """Whether every user may read it, or enter it."""
    folders = [each for each in path.parents if not each.stat().st_mode & 0o001]
    return path.exists() and not folders and bool(path.stat().st_mode & 0o004)


PYTHON = next(
    (
        each
        for each in (Path(sys.executable).resolve(), Path(f"/usr/bin/python3.{sys.version_info.minor}"))
        if is_open(each) and is_open(Path(sysconfig.get_path("purelib"))) and is_open(ROOT / "server")
    ),
    None,
)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="nobody but root becomes other users"),
    pytest.mark.skipif(PYTHON is None, reason="other users may not run this Python"),
]


@pytest.fixture
def config() -> Iterator[Path]:
    """A configuration that everybody may read, and its store, which is its owner's alone."""
    directory = Path(tempfile.mkdtemp(dir="/tmp"))
    directory.chmod(0o755)
    path = directory / "tidegate.toml"
    path.write_text(f"[storage]\nmap_size_bytes = {MAP_SIZE_BYTES}\n{source('demo')}")
    Store.open(directory / "data", map_size_bytes=MAP_SIZE_BYTES, mode="write").close()
    for each in (directory / "data", *(directory / "data").iterdir()):
        os.chown(each, OWNER, OWNER)
    yield path
    shutil.rmtree(directory)


def run(config: Path, *arguments: str, cwd: Path = Path("/"), **environment: str) -> tuple[int, list[str]]:
    """Exit code and stderr of a command that somebody runs."""
    path = f"{ROOT}:{sysconfig.get_path('purelib')}"
    done = subprocess.run(
        [str(PYTHON), "-m", "server", *arguments],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]} | environment,
        cwd=cwd,
        user=SOMEBODY,
        group=SOMEBODY,
        extra_groups=[],
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("line", ["receipt demo x", "dead", "why demo", "verify", "requeue demo --all", "check"])
def test_a_closed_store_names_its_user(line: str, config: Path) -> None:
    """Who may not use the store is told the line to type, with the configuration that `sudo` would not know."""
    code, lines = run(config, *line.split(), TIDEGATE_CONFIG=str(config))
    assert code in (1, 2)
    assert lines[0] == f"tidegate: the configuration is {config}, as TIDEGATE_CONFIG says"
    advised = f"sudo -u daemon {PYTHON} -m server --config {config} {line}"
    assert lines[-1] == f"tidegate: run it as the service's user: {advised}"


@pytest.mark.parametrize(("uid", "name"), [(OWNER, "daemon"), (0, "daemon")])
def test_a_closed_configuration_names_its_user(uid: int, name: str, config: Path) -> None:
    """So is who may not read the configuration: its owner is named, or where that is root, the user of its group."""
    os.chown(config, uid, OWNER)
    config.chmod(0o640)
    code, lines = run(config, "check", "--config", str(config))
    assert code == 2
    assert lines == [
        f"tidegate: {config}: cannot be read: Permission denied",
        f"tidegate: run it as the service's user: sudo -u {name} {PYTHON} -m server check --config {config}",
    ]


def test_a_closed_working_directory_hides_nothing(config: Path) -> None:
    """Where `sudo` leaves the service's user in somebody's home, no configuration is in the working directory."""
    closed = config.parent / "home"
    closed.mkdir(mode=0o700)
    (closed / "tidegate.toml").write_text("")
    _, lines = run(config, "check", cwd=closed)
    assert [line for line in lines if "directory" in line or "another user" in line] == []


def test_other_failures_advise_no_user(config: Path) -> None:
    """What is wrong for everybody is said as it is."""
    _, lines = run(config, "send", "nothing", "--config", str(config))
    assert [line for line in lines if "sudo" in line] == []
    _, lines = run(config, "source", "rotate", "demo", "--config", str(config))
    assert [line for line in lines if "sudo" in line] == []
