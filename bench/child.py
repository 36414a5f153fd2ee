"""A server under measurement: its own process, on its own core, in its own directory, which never outlives us."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

SERVER_CORE = 0
LOAD_CORE = 1
"""The server has one core to itself, the load another."""

HANG_SECONDS = 300
"""What takes this long hangs, on the slowest machine too: a start, an answer, an end, the work that was left."""

TICKS = os.sysconf("SC_CLK_TCK")


class Child:
    """Started with a command, ready when its log says so, and pinned to a core where one is named."""

    def __init__(self, command: Sequence[str], log: Path, core: int | None, environment: Mapping[str, str]) -> None:
        # It gets a SIGTERM when we die, however we die.
        pinned = ["setpriv", "--pdeathsig", "TERM", *(["taskset", "-c", str(core)] if core is not None else [])]
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*pinned, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )

    def wait_ready(self, words: str, port: int | None = None) -> None:
        """Until the log has these words and the port is open. Raises RuntimeError with the log where it never does."""
        end = time.monotonic() + HANG_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            if words in self.output() and (port is None or _open(port)):
                return
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"{self.process.args!r} is not ready:\n{self.output()}")

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def has_mapped(self, path: Path) -> bool:
        """Whether the process itself has this file in its memory map."""
        try:
            return str(path.resolve()) in Path(f"/proc/{self.process.pid}/maps").read_text()
        except OSError:
            return False

    def cpu_seconds(self) -> float:
        """CPU time so far, of the process and of all below it."""
        return sum(_cpu_seconds(pid) for pid in self._tree())

    def status_kb(self, name: str) -> int:
        """A line of /proc/PID/status, in kB, of the process and of all below it."""
        return sum(_status_kb(pid, name) for pid in self._tree())

    def stop(self) -> None:
        """SIGTERM, and wait. Raises RuntimeError where it does not end in time."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(HANG_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"{self.process.args!r} did not stop:\n{self.output()}") from None

    def kill(self) -> None:
        """The process and all below it, at once."""
        for pid in reversed(self._tree()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def _tree(self) -> list[int]:
        """The process first, then its children, theirs, and so on."""
        tree = [self.process.pid]
        for pid in tree:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    tree += map(int, children.read_text().split())
                except OSError:  # that thread has ended
                    continue
        return tree


def pin(core: int) -> None:
    """This process, which makes the load, to its core."""
    os.sched_setaffinity(0, {core})


def free_port() -> int:
    """A port of the loopback interface that nobody uses, and that the kernel gives nobody who asks for any port."""
    while True:
        port = random.SystemRandom().randrange(20_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _cpu_seconds(pid: int) -> float:
    """Its own and its ended children's, in user mode and in the kernel."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS


def _status_kb(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name + ":")).split()[1])
