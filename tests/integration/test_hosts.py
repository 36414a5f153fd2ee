"""Hosts that lack what others have, or name things as no text does."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import server.cli.main
from server.cli import entry
from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import pending
from tests.support.server import ROOT, Child, installed_command
from tests.support.waiting import HANG_SECONDS, eventually


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_path_that_is_no_text(tmp_path: Path, locale: str) -> None:
    """A store in a directory whose name is not UTF-8 is served, read and verified; LMDB's binding had refused it."""
    directory = tmp_path / os.fsdecode(b"caf\xe9")
    directory.mkdir()
    shutil.copy(ROOT / "tests" / "support" / "processors.py", directory)
    child = Child(directory, source("worked", processor="processors:plain"))
    child.environment |= {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with child:
        child.post("worked", item("a"))
        eventually(lambda: pending(child, "worked") == 0)
        assert [line["event"] for line in child.reload()] == ["reloaded"]
        assert child.cli("receipt", "worked", "a").returncode == 0
        assert child.stop() == 0
    assert child.errors == []
    done = subprocess.run(
        [*installed_command(), "verify", "--config", str(child.config)],
        env=child.environment,
        capture_output=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    """A configuration named from there is a mistake that says so; one with its whole path does not need it."""
    (tmp_path / "tidegate.toml").write_text("[server]\n")
    here = tmp_path / "here"

    def check(config: str) -> subprocess.CompletedProcess[str]:
        here.mkdir()
        program = 'rmdir "$PWD"; exec "$@"'
        command = ["/bin/sh", "-c", program, "sh", *installed_command(), "check", "--config", config]
        return subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)

    done = check("tidegate.toml")
    assert done.returncode == 2
    assert "tidegate: tidegate.toml: the working directory is gone" in done.stderr
    assert "the working directory" not in check(str(tmp_path / "tidegate.toml")).stderr


def test_too_little_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of memory that is met at a start is said without a traceback."""

    def fail() -> int:
        raise MemoryError

    monkeypatch.setattr(server.cli.main, "main", fail)
    with pytest.raises(SystemExit, match="tidegate: there is not enough memory"):
        entry.main()
