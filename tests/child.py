"""The installed server as a child process: started, spoken to over real sockets, killed."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 30
"""Far more than a start takes; a slow machine must not fail a test."""

TOKEN = "a-token-of-the-tests"


@dataclass(frozen=True)
class Response:
    """One answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Child:
    """A `tidegate serve` on free ports with its store in `directory`.

    `sections` are TOML texts that follow `[server]`; a source named there can use TOKEN.
    """

    def __init__(
        self, directory: Path, sections: str, *, server_keys: str = "", command: Sequence[str] | None = None
    ) -> None:
        self.directory = directory
        self.config = directory / "tidegate.toml"
        self.command = command or [sys.executable, "-m", "server"]
        self.environment = dict(os.environ)
        self.write(sections, server_keys)
        self.process: subprocess.Popen[bytes] | None = None
        self.lines: list[dict[str, Any]] = []
        self.errors: list[str] = []
        """Lines of stderr that are no JSON: there should be none."""
        self.port = self.admin_port = 0

    def write(self, sections: str, server_keys: str = "") -> None:
        """Write the configuration file, perhaps for a later `reload`."""
        server = f'[server]\nbind = "127.0.0.1:0"\nadmin_bind = "127.0.0.1:0"\n{server_keys}\n'
        self.config.write_text(server + sections)

    def __enter__(self) -> "Child":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Return when it says that it is ready."""
        self.process = subprocess.Popen(
            [*self.command, "serve", "--config", str(self.config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self.environment,
        )
        self._ready = threading.Event()
        self._said: dict[str, threading.Event] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(START_SECONDS) or self.process.poll() is not None:
            self.kill()
            raise AssertionError(f"the server did not become ready: {self.lines} {self.errors}")

    def kill(self) -> None:
        """SIGKILL, if it is running; returns when it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        self.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, seconds: float = 60) -> int | None:
        """The exit code, once it has ended."""
        if self.process is None:
            return None
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def stop(self) -> int | None:
        """SIGTERM and its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait_for_line(self, event: str, seconds: float = 30) -> dict[str, Any]:
        """The log line of this event, said already or soon."""
        said = self._said.setdefault(event, threading.Event())
        found = [line for line in list(self.lines) if line.get("event") == event]
        if not found:
            assert said.wait(seconds), f"the server did not say {event!r}: {self.lines} {self.errors}"
            found = [line for line in list(self.lines) if line.get("event") == event]
        return found[-1]

    def post(
        self, source: str, body: object, *, headers: Mapping[str, str] | None = None, token: str = TOKEN
    ) -> Response:
        """One delivery on a connection of its own; `body` is bytes, or what becomes JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request(
            "POST", f"/ingest/inbound/{source}", data, {"Authorization": f"Bearer {token}", **(headers or {})}
        )

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        return _request(self.port, method, path, body, headers or {})

    def admin(
        self, path: str, *, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        return _request(self.admin_port, method, path, body, headers or {})

    def metrics(self) -> dict[str, float]:
        """Every sample, by its name with labels as the server writes it."""
        text = self.admin("/metrics").body.decode()
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    def cli(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """A command of the same installation with this configuration: `cli("receipt", source, id)`."""
        name, *rest = arguments
        return subprocess.run(
            [*self.command, name, "--config", str(self.config), *rest],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=120,
            check=check,
        )

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


def _request(port: int, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Response:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return Response(
            response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        )
    finally:
        connection.close()
