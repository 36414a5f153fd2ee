"""Completion in real shells: what `tidegate completion` prints is read by them, and the Tab key is pressed."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.config import source
from tests.support.waiting import HANG_SECONDS

SCRIPTS = Path(sys.executable).parent

TO_THE_BEGINNING = "\x01"

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(tidegate completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -U compinit; compinit -u -D; eval "$(tidegate completion zsh)"'),
}

TYPED = {
    "tidegate rec": "tidegate receipt",
    "tidegate receipt or": "tidegate receipt orders",
    "tidegate --config other.toml receipt el": "tidegate --config other.toml receipt elsewhere",
    "tidegate source ret": "tidegate source retire",
    "tidegate source rotate or": "tidegate source rotate orders",
    "tidegate check --conf": "tidegate check --config",
    "tidegate dead --format nd": "tidegate dead --format ndjson",
    "tidegate send orders a-f": "tidegate send orders a-file.json",
    "tidegate check --config ot": "tidegate check --config other.toml",
}
"""What is typed before the Tab key, and what stands there after it."""

pytestmark = pytest.mark.skipif(not (SCRIPTS / "tidegate").exists(), reason="not installed")


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A folder with two configurations and a file, and variables with which a shell finds the command."""
    monkeypatch.chdir(tmp_path)
    Path("tidegate.toml").write_text(source("orders"))
    Path("other.toml").write_text(source("elsewhere"))
    Path("a-file.json").write_text("{}")
    path = f"{SCRIPTS}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEGATE", "PYTHON"))}
    return kept | {"PATH": path, "HOME": str(tmp_path), "TERM": "xterm", "COLUMNS": "200"}


class Shell:
    """A shell on a terminal, in which somebody types."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)
        self._shown = b""

    def type(self, text: str, until: str) -> None:
        """Return when the shell has shown these words."""
        os.write(self._ours, text.encode())
        deadline = time.monotonic() + HANG_SECONDS
        while until.encode() not in self._shown:
            assert select.select([self._ours], [], [], max(0, deadline - time.monotonic()))[0], self._shown
            self._shown += os.read(self._ours, 65536)
        self._shown = self._shown.partition(until.encode())[2]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.mark.parametrize("name", SHELLS)
def test_tab_completes_what_is_typed(name: str, environment: dict[str, str]) -> None:
    """Commands, their parts, options and their values, ids of the configured sources, and names of files."""
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    command, setting = SHELLS[name]
    shell = Shell(command, environment)
    try:
        shell.type(f"{setting}; echo loa''ded\r", "loaded")
        for typed, wanted in TYPED.items():
            shell.type(f"{typed}\t{TO_THE_BEGINNING}echo it-is:\r", f"it-is:{wanted}")
    finally:
        shell.end()


def test_fish_completes_what_is_typed(environment: dict[str, str]) -> None:
    """The same, as fish tells what it would complete; a description with a comma is shown whole."""
    if shutil.which("fish") is None:
        pytest.skip("there is no fish")
    lines = [f"complete -C '{typed}'" for typed in TYPED]
    program = "\n".join(["tidegate completion fish | source", *lines])
    done = subprocess.run(
        ["fish", "--no-config", "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        timeout=HANG_SECONDS,
        check=True,
    )
    found = [line.split("\t") for line in done.stdout.splitlines()]
    assert [words[0] for words in found] == [wanted.split()[-1] for wanted in TYPED.values()]
    assert ["retire", "take out all tokens or secrets but the first, where rotate puts the newest"] in found


@pytest.mark.parametrize("text", [None, "[sources", "sources = 7\n"])
def test_a_bad_configuration_completes_nothing(text: str | None, environment: dict[str, str]) -> None:
    """Where the configuration is missing or has mistakes, no source is completed, and nothing is said."""
    Path("tidegate.toml").unlink()
    if text is not None:
        Path("tidegate.toml").write_text(text)
    asked = {"_TIDEGATE_COMPLETE": "bash_complete", "COMP_WORDS": "tidegate receipt ", "COMP_CWORD": "2"}
    command = [str(SCRIPTS / "tidegate")]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment | asked, timeout=HANG_SECONDS, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


@pytest.mark.parametrize("asked", ["", "bash", "csh_complete", "bash_source", "bash_complete"])
def test_what_no_shell_asks_is_refused(asked: str, environment: dict[str, str]) -> None:
    """A variable that is left over, or made up, ends with exit code 1 and runs no command."""
    done = subprocess.run(
        [str(SCRIPTS / "tidegate"), "version"],
        capture_output=True,
        text=True,
        env=environment | {"_TIDEGATE_COMPLETE": asked},
        timeout=HANG_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
