"""The systemd unit: how little it leaves a process, and that the server lives with that."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support import debian
from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import pending
from tests.support.namespaces import needs_mounts
from tests.support.sandbox import UNIT, in_sandbox
from tests.support.server import Child, installed_command
from tests.support.slices import MAY_CHOOSE
from tests.support.waiting import HANG_SECONDS, eventually

pytestmark = pytest.mark.xdist_group("bench")

EXPOSURE_MAX = 1.5
"""Of 10, as `systemd-analyze security` counts. What is left: it has a network, processors may connect anywhere, and
threads choose their slices of the processor."""

PROCESSOR = """
import ctypes, os, socket, subprocess, threading
from pathlib import Path
import numpy
from server.base import slices

def refused(action):
    try:
        action()
    except OSError as error:
        return error.errno
    return 0

def higher():
    found = slices.read()
    if found is None:  # a machine whose numbers are not known: nothing can be tried
        return ctypes.set_errno(1) or -1
    set_number = slices.SCHED_SETATTR_AND_GETATTR[os.uname().machine][0]
    found.nice = -1
    return ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(set_number), 0, ctypes.byref(found), 0)

def work(events):
    numpy.ones((20, 20)) @ numpy.ones((20, 20))
    said = subprocess.run(["/bin/echo", "hello"], capture_output=True, text=True).stdout
    libc = ctypes.CDLL(None, use_errno=True)
    tried = {
        "a file elsewhere": refused(lambda: Path("/tidegate-was-here").write_text("x")),
        "a raw socket": refused(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
        "another owner": refused(lambda: os.chown(__file__, 1, 1)),
        "a mount": libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) and ctypes.get_errno(),
        "a namespace": libc.unshare(0x20000) and ctypes.get_errno(),
        "a real-time policy": refused(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))),
        "a higher priority": refused(lambda: os.setpriority(os.PRIO_PROCESS, 0, -1)),
        "one by the call for slices": higher() and ctypes.get_errno(),
        "code that is written": refused(lambda: __import__("mmap").mmap(-1, 4096, prot=7)),
    }
    return [{"said": said, "tried": tried, "slices": slices.take_long_slices()} for _ in events]
"""
EPERM, EROFS = 1, 30


@pytest.fixture(scope="module")
def analyze() -> list[str]:
    """Returns the words of systemd-analyze, whose offline mode needs no systemd that runs."""
    packages = ["systemd", "libsystemd-shared", "libapparmor1", "libkmod2", "libseccomp2", "libip4tc2"]
    found = debian.find("systemd-analyze", packages)
    if found is None:
        pytest.skip("systemd-analyze is not installed (Debian: apt install systemd), and apt cannot bring it")
    libraries = found.parents[1] / "lib" / f"{os.uname().machine}-linux-gnu"
    return ["env", f"LD_LIBRARY_PATH={libraries}:{libraries / 'systemd'}", str(found)]


def test_the_unit_leaves_little_exposed(analyze: list[str]) -> None:
    """systemd's own measure of the unit stays low, and the unit has no line that systemd does not know."""
    command = [*analyze, "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX * 10:.0f}", str(UNIT)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    assert said.returncode == 0, said.stdout
    [exposure] = re.findall(r"Overall exposure level for tidegate\.service: ([0-9.]+)", said.stdout)
    assert float(exposure) <= EXPOSURE_MAX
    assert "Unknown" not in said.stderr


@needs_mounts
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="takes systemd's groups of calls")
def test_a_server_lives_in_the_sandbox(tmp_path: Path) -> None:
    """It starts, accepts, processes, reloads, is asked and drains; what is not its business is refused."""
    (tmp_path / "tried.py").write_text(PROCESSOR)
    child = Child(tmp_path, source("worked", processor="tried:work"))
    child.command = [*in_sandbox(tmp_path), *installed_command()]
    with child:
        status = Path(f"/proc/{child.pid}/status").read_text()
        assert re.findall(r"^(?:CapEff|NoNewPrivs|Seccomp):\t(\S+)$", status, re.MULTILINE) == ["0" * 16, "1", "2"]
        assert child.post("worked", item("a")).status == 200
        eventually(lambda: pending(child, "worked") == 0)
        child.signal(signal.SIGHUP)
        child.wait_for_line("reloaded")
        assert child.admin("/readyz").status == 200
        event = json.loads(child.cli("event", "worked", "a", check=True).stdout)
        assert child.stop() == 0
    assert child.errors == []
    assert [line for line in child.lines if line["level"] == "error"] == []
    assert child.cli("verify").returncode == 0
    tried = event["result"].pop("tried")
    assert event["result"].pop("slices") or not MAY_CHOOSE
    assert event["result"] == {"said": "hello\n"}
    assert tried.pop("a file elsewhere") == EROFS
    assert set(tried.values()) == {EPERM}
