"""SDKs of Segment and RudderStack, unmodified: each sends a number of events, and says what became of them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.support import node, older
from tests.support.node import Answering
from tests.support.waiting import HANG_SECONDS

KEY = "a-write-key"
COUNT, BATCH = 60, 10


@dataclass(frozen=True)
class Report:
    """What an SDK says after its last event: its version, and the ids that it has sent and lost."""

    version: str
    sent: Sequence[str]
    lost: Sequence[str]


Sender = Callable[[str], Report]
"""Sends COUNT events with KEY to the server at this address."""


@dataclass(frozen=True)
class Sdk:
    """One of them, by the name that its registry has, and the way in which it delivers if it has several."""

    package: str
    send: Sender
    way: str = ""


def _python(module: str, url: str, *, path: Callable[[], Sequence[Path]] = list) -> Report:
    options = {"write_key": KEY, "host": url, "timeout": HANG_SECONDS, "upload_size": BATCH, "upload_interval": 0.1}
    question = json.dumps([module, COUNT, options])
    script = Path(__file__).with_name("send_python.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path()))}
    done = subprocess.run([sys.executable, script, question], capture_output=True, env=environment, check=True)
    return Report(**json.loads(done.stdout))


def _node(name: str, folder: str, url: str) -> Report:
    with Answering("send.mjs") as sender:
        answer = sender.ask([name, url, KEY, COUNT, BATCH, {}])
    return Report(node.version_of(folder), **answer)


def _older() -> Sequence[Path]:
    return [older.installed()]


SDKS: Mapping[str, Sdk] = {
    "segment, Python": Sdk("segment-analytics-python", partial(_python, "segment.analytics")),
    "segment, Python, older": Sdk("segment-analytics-python", partial(_python, "segment.analytics", path=_older)),
    "rudderstack, Python": Sdk("rudder-sdk-python", partial(_python, "rudderstack.analytics")),
    "segment, Node": Sdk("@segment/analytics-node", partial(_node, "segment 3", "@segment/analytics-node")),
    "segment, Node, older": Sdk("@segment/analytics-node", partial(_node, "segment 2", "@segment/analytics-node-2")),
    "rudderstack, Node": Sdk(
        "@rudderstack/rudder-sdk-node", partial(_node, "rudderstack", "@rudderstack/rudder-sdk-node")
    ),
}
"""Those that run without a browser."""
