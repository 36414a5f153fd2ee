"""A limit of threads for a child, as `ulimit -u` and `TasksMax=` set it: none that it has not got already.

The limit does not count for root, so a child of root's runs as somebody else, by its real uid alone, and without the
capabilities that would lift the limit: its files stay root's.
"""

import os
import shutil
import sys
from collections.abc import Sequence

import pytest

from tests.support.server import Child, Children

LIMITED = """
import resource

import processors

HARD = resource.getrlimit(resource.RLIMIT_NPROC)[1]


def limit(soft):
    resource.setrlimit(resource.RLIMIT_NPROC, (soft, HARD))


async def turn(events):
    for event in events:
        limit(1 if event["payload"]["limited"] else HARD)


async def asynchronous(events):
    return [{"n": 1} for _ in events]


def plain(events):
    processors.note("calls", name="plain", ids=[event["inbound_event_id"] for event in events])
"""
"""`turn` puts the limit in force, or takes it away, for the process that it runs in."""


def limited(children: Children, sections: str) -> Child:
    """A server with the module `limited` above beside its configuration. Skips the test where that cannot be done."""
    child = children(sections)
    child.command = [*_as_nobody(), sys.executable, "-m", "server"]  # a shell gives up an effective uid
    (child.directory / "limited.py").write_text(LIMITED)
    return child


def _as_nobody() -> Sequence[str]:
    if os.getuid():
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root is not limited, and there is no setpriv")
    return ("setpriv", "--ruid", str(2**20 + os.getpid()), "--bounding-set", "-sys_resource,-sys_admin", "--")
