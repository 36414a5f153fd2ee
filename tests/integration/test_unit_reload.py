"""`systemctl reload`: the commands of the unit's ExecReload, run as systemd runs them, with a MAINPID of the test's."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.config import ANY_DISK, source
from tests.support.sandbox import values
from tests.support.server import Child, Children, installed_command
from tests.support.waiting import HANG_SECONDS, eventually

PROGRAM, CONFIG = "/opt/tidegate/.venv/bin/tidegate", "/etc/tidegate/tidegate.toml"
WAITS = "import signal, sys; print('here', flush=True); signal.pause()"
"""A process that a SIGHUP ends."""


def reload(config: Path, main_pid: int) -> subprocess.CompletedProcess[str]:
    """What came of the last command that ran: one after the other, up to the first that fails."""
    for line in values("ExecReload"):
        words = [
            word
            for each in line.split()
            for word in (installed_command() if each == PROGRAM else [str(config) if each == CONFIG else each])
        ]
        command = [str(main_pid) if word == "$MAINPID" else word for word in words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
        if done.returncode:
            break
    return done


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A good file."""
    path = tmp_path / "tidegate.toml"
    path.write_text(ANY_DISK + source("demo"))
    return path


@pytest.fixture
def main() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        yield process
        process.kill()


@pytest.mark.parametrize("mistake", ["whenever = 1\n", "[sources.demo\n", 'processor = "nowhere:work"\n'])
def test_a_bad_file_fails_the_reload(config: Path, main: subprocess.Popen[str], mistake: str) -> None:
    """A mistake in the file, its syntax, or a processor that cannot be loaded: it is named, and no signal is sent."""
    config.write_text(config.read_text() + mistake)
    done = reload(config, main.pid)
    assert done.returncode == 2
    assert done.stderr
    assert main.poll() is None


def test_a_good_file_is_signalled(config: Path, main: subprocess.Popen[str]) -> None:
    """With a good file the main process gets SIGHUP."""
    assert reload(config, main.pid).returncode == 0
    assert main.wait(HANG_SECONDS) == -signal.SIGHUP


def test_reload_without_its_process_fails(config: Path, main: subprocess.Popen[str]) -> None:
    """Where there is no such process any more, the reload fails too."""
    main.kill()
    main.wait(HANG_SECONDS)
    assert reload(config, main.pid).returncode != 0


def test_a_running_server_is_reloaded(children: Children) -> None:
    """Beside a running server the check finds nothing wrong with its store, and the server takes the file over."""
    child: Child = children(source("demo"))
    child.start()
    child.write(source("demo") + source("another"))
    assert reload(child.config, child.pid).returncode == 0
    eventually(lambda: child.lines_of("reloaded"))
    assert child.lines_of("reloaded")[0]["sources"] == ["another", "demo"]
    child.write(source("demo", over_limit="whenever"))
    assert reload(child.config, child.pid).returncode == 2
    assert len(child.lines_of("reloaded")) == 1
    assert child.metrics()["tidegate_config_last_reload_successful"] == 1
