"""The installed server as a child process: started, spoken to over real sockets, killed."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from server.cli import main as command
from tests.support import config
from tests.support.client import Response, Session, ask_once
from tests.support.config import TOKEN
from tests.support.waiting import HANG_SECONDS, eventually

ROOT = Path(__file__).resolve().parents[2]
"""Where `server` and `storage` are, unless a test brings others."""


class Child:
    """A `tidegate serve` on free ports with its store in `directory`.

    `sections` are TOML texts that follow `[server]`; a source named there can use TOKEN. `root`: where the code is.
    """

    def __init__(
        self,
        directory: Path,
        sections: str,
        *,
        server_keys: str = "",
        command: Sequence[str] | None = None,
        root: Path = ROOT,
        fast: bool | None = None,
    ) -> None:
        self._fast = fast
        self.directory = directory
        self.config = directory / "tidegate.toml"
        self.store = directory / "data"
        self.command = command or (installed_command() if root == ROOT else [sys.executable, "-P", "-m", "server"])
        self.environment = os.environ | {"PYTHONPATH": str(root)}
        self.write(sections, server_keys)
        self.process: subprocess.Popen[bytes] | None = None
        self.lines: list[dict[str, Any]] = []
        self.errors: list[str] = []
        """Lines of stderr that are no JSON: there should be none."""
        self.port = self.admin_port = 0
        self.delivered: list[str] = []
        """The deliveries that were answered with 200, as the answers name them."""

    def write(self, sections: str, server_keys: str = "") -> None:
        """Write the configuration file, perhaps for a later `reload`."""
        self.config.write_text(config.whole(sections, server_keys, fast=self._fast))

    def __enter__(self) -> "Child":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Return when it says that it is ready."""
        self.start_if_it_can()
        if not self.port:
            self.kill()
            raise AssertionError(f"the server did not become ready: {self.lines} {self.errors}")

    def start_that_fails(self) -> tuple[int, str]:
        """Exit code and words of a start that ends by itself, beside one that is running perhaps."""
        done = subprocess.run(
            [*self.command, "serve", "--config", str(self.config)],
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.directory,
            timeout=HANG_SECONDS,
            check=False,
        )
        return done.returncode, done.stderr

    def start_if_it_can(self) -> None:
        """Return when it says that it is ready, or has ended."""
        self.begin()
        self._ready.wait(HANG_SECONDS)

    def begin(self) -> None:
        """Start it, and do not wait."""
        self.port = self.admin_port = 0
        self.process = subprocess.Popen(
            [*self.command, "serve", "--config", str(self.config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self.environment,
            cwd=self.directory,
        )
        self._ready = threading.Event()
        self._said: dict[str, threading.Event] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def kill(self) -> None:
        """SIGKILL, if it is running; returns when it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        self.wait()

    def kill_now(self) -> None:
        """SIGKILL; does not wait."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int | None:
        """The exit code, once it has ended."""
        if self.process is None:
            return None
        code = self.process.wait(HANG_SECONDS)
        self._reader.join(HANG_SECONDS)
        return code

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def stop(self) -> int | None:
        """SIGTERM and its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait_for_line(self, event: str) -> dict[str, Any]:
        """The log line of this event, said already or soon."""
        said = self._said.setdefault(event, threading.Event())
        found = [line for line in list(self.lines) if line.get("event") == event]
        if not found:
            assert said.wait(HANG_SECONDS), f"the server did not say {event!r}: {self.lines} {self.errors}"
            found = [line for line in list(self.lines) if line.get("event") == event]
        return found[-1]

    def lines_of(self, event: str) -> list[dict[str, Any]]:
        """The log lines of this event so far."""
        return [line for line in list(self.lines) if line.get("event") == event]

    def reload(self) -> list[dict[str, Any]]:
        """SIGHUP; the lines that it said about it, once it is through."""
        before, done = len(self.lines), ("reloaded", "the new configuration is not taken over")
        self.signal(signal.SIGHUP)

        def said() -> list[dict[str, Any]]:
            return [line for line in self.lines[before:] if line.get("name") == "tidegate.reload"]

        eventually(lambda: any(str(line["event"]).startswith(done) for line in said()))
        return said()

    def memory_bytes(self) -> int:
        """Resident memory of its own; the pages of the store, which the kernel can take back, do not count."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) * 1024

    def session(self) -> Session:
        """A connection for many deliveries."""
        return Session(self.port, self.delivered)

    def post(
        self, source: str, body: object, *, headers: Mapping[str, str] | None = None, token: str = TOKEN
    ) -> Response:
        """One delivery on a connection of its own; `body` is bytes, or what becomes JSON."""
        with self.session() as session:
            return session.post(source, body, token=token, headers=headers)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        return ask_once(self.port, method, path, body, headers or {})

    def admin(
        self, path: str, *, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        return ask_once(self.admin_port, method, path, body, headers or {})

    def metrics(self) -> dict[str, float]:
        """Every sample, by its name with labels as the server writes it."""
        text = self.admin("/metrics").body.decode()
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    def cli(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """What a command does with this configuration: `cli("receipt", source, id)`. It runs in this process, since to
        start Python for it takes a hundred times as long."""
        name, *rest = arguments
        done = run_here(name, "--config", str(self._config_of_commands()), *rest, environment=self.environment)
        if check:
            assert done.returncode == 0, done
        return done

    def _config_of_commands(self) -> Path:
        """The configuration with the ports in use, so that a command finds the server."""
        path = self.directory / "commands.toml"
        text = self.config.read_text().replace('\nbind = "127.0.0.1:0"', f'\nbind = "127.0.0.1:{self.port}"')
        path.write_text(text.replace('admin_bind = "127.0.0.1:0"', f'admin_bind = "127.0.0.1:{self.admin_port}"'))
        return path

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        for raw in self.process.stderr:
            text = raw.decode(errors="replace").rstrip()
            try:
                line = json.loads(text)
            except ValueError:
                self.errors.append(text)
                continue
            self._hear(line)
        self.process.stderr.close()
        self._ready.set()

    def _hear(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        event = str(line.get("event"))
        if event == "ready":
            self.port = int(line["ingest"].split("/ingest")[0].rsplit(":", 1)[1])
            self.admin_port = int(line["admin"].rsplit(":", 1)[1])
            self._ready.set()
        self._said.setdefault(event, threading.Event()).set()


class Children:
    """Makes servers, each in a directory of its own with `processors.py` in it, and kills them at the end."""

    def __init__(self, directory: Path, root: Path = ROOT) -> None:
        self._directory = directory
        self._root = root
        self._made: list[Child] = []

    def __call__(
        self, sections: str, *, server_keys: str = "", launch: Sequence[str] = (), fast: bool | None = None
    ) -> Child:
        """Make one that is not started yet. `launch`: arguments of `faults.py`, where something of its world is to be
        replaced; `fast`: which front end, where it is not the one that pytest's option names."""
        directory = self._directory / f"server-{len(self._made)}"
        directory.mkdir()
        shutil.copy(ROOT / "tests" / "support" / "processors.py", directory)
        command = [sys.executable, "-P", str(ROOT / "tests" / "support" / "faults.py"), *launch] if launch else None
        child = Child(directory, sections, server_keys=server_keys, command=command, root=self._root, fast=fast)
        self._made.append(child)
        return child

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._made:
            child.kill()


def installed_command() -> list[str]:
    """The `tidegate` beside this interpreter, or the module where it is not installed."""
    script = Path(sys.executable).with_name("tidegate")
    return [str(script)] if script.exists() else [sys.executable, "-m", "server"]


def run_here(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What the `tidegate` command does with these arguments, in this process."""
    said, words = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n") for _ in range(2))
    others = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    with mock.patch.dict(os.environ, others), redirect_stdout(said), redirect_stderr(words):
        try:
            code = command.main(arguments)
        except SystemExit as error:
            code = int(error.code or 0)
    texts = []
    for stream in (said, words):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    return subprocess.CompletedProcess(arguments, code, *texts)
