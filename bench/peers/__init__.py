"""What is measured: Tidegate, peers doing the same job, and ceilings that do less. One adapter file each."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.child import Child, free_port
from bench.workload import TOKEN

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILT = ROOT / "bench" / "build"
PYTHON = ROOT / "bench" / ".venv" / "bin"
"""What bench/peers/setup.sh makes."""

EVENTS_PER_SECOND = 10_000_000
"""The rate limit everywhere: checked for every event, and never reached."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One server: how to start it, and what its log says when it is ready."""

    title: str
    command: Callable[[int, Path], Sequence[str]]
    """From a port and an empty directory of its own."""
    needs: Path
    """Missing where bench/peers/setup.sh has not been run."""
    ready: str
    same_job: bool = True
    """False: a ceiling, which does less."""
    tidegate: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def launch(self, directory: Path, core: int | None) -> tuple[Child, int]:
        """The server, which may not be ready yet, and its port."""
        port = free_port()
        data = directory / "data"
        environment = {"PEER_DATA": str(data), "PEER_TOKEN": TOKEN, "PYTHONPATH": str(ROOT), **self.environment}
        return Child(self.command(port, directory), directory / "log", core, environment), port

    def start(self, directory: Path, core: int | None) -> tuple[Child, int]:
        """The server and its port. Raises RuntimeError where it does not get ready."""
        child, port = self.launch(directory, core)
        child.wait_ready(self.ready, port)
        return child, port


def tidegate(title: str = "Tidegate", *, fast_lane: bool = True, more: str = "") -> Peer:
    """Tidegate at its defaults, with a source of each type, and what else its configuration should say."""

    def command(port: int, directory: Path) -> Sequence[str]:
        config = directory / "tidegate.toml"
        lane = str(fast_lane).lower()
        server = f'[server]\nbind = "127.0.0.1:{port}"\nadmin_bind = "127.0.0.1:0"\nfast_lane = {lane}'
        config.write_text("\n".join((server, source("webhook", "webhook"), source("segment", "segment"), more)))
        return [sys.executable, "-m", "server", "serve", "--config", str(config)]

    return Peer(title, command, ROOT, "/ingest", tidegate=True)


def source(name: str, kind: str) -> str:
    """The table of one source; keys may follow it."""
    return (
        f'[sources.{name}]\ntype = "{kind}"\ntokens = ["{TOKEN}"]\nrate_limit_events_per_second = {EVENTS_PER_SECOND}\n'
    )


def _nginx(port: int, directory: Path) -> Sequence[str]:
    config = directory / "nginx.conf"
    text = (HERE / "nginx.conf").read_text()
    config.write_text(text.replace("DIRECTORY", str(directory)).replace("PORT", str(port)))
    return [NGINX, "-p", str(directory), "-c", str(config)]


def _go(port: int, directory: Path) -> Sequence[str]:
    return [str(BUILT / "go" / "peer"), str(port), str(directory / "data"), TOKEN]


def _granian(port: int, _: Path) -> Sequence[str]:
    options = ["--interface", "rsgi", "--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop"]
    return [str(PYTHON / "granian"), *options, "--workers", "1", "--no-ws", "bench.peers.granian_rsgi:app"]


def _uvicorn(application: str, port: int) -> Sequence[str]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    return [str(PYTHON / "uvicorn"), *options, "--no-access-log", f"bench.peers.{application}:app"]


def _fastify(port: int, directory: Path) -> Sequence[str]:
    return ["node", str(BUILT / "fastify" / "server.mjs"), str(port), str(directory / "data"), TOKEN]


NGINX = next((path for path in ("/usr/sbin/nginx", "/usr/bin/nginx") if os.access(path, os.X_OK)), "/usr/sbin/nginx")

PEERS = {
    "tidegate": tidegate(),
    "go": Peer("Go, fasthttp, Badger", _go, BUILT / "go" / "peer", "ready"),
    "granian": Peer("Granian RSGI", _granian, PYTHON / "granian", "Started worker"),
    "starlette": Peer(
        "Starlette on uvicorn", lambda p, _: _uvicorn("starlette_uvicorn", p), PYTHON / "uvicorn", "Uvicorn running"
    ),
    "fastify": Peer("Fastify, lmdb-js", _fastify, BUILT / "fastify" / "server.mjs", "ready"),
    "quart": tidegate("Tidegate without its fast lane", fast_lane=False),
    "noop": Peer(
        "uvicorn, doing nothing",
        lambda p, _: _uvicorn("uvicorn_noop", p),
        PYTHON / "uvicorn",
        "Uvicorn running",
        same_job=False,
    ),
    "nginx": Peer("nginx, return 200", _nginx, Path(NGINX), "", same_job=False),
}
