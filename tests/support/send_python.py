"""One of the SDKs for Python: `send_python.py QUESTION`, which is JSON, [MODULE, COUNT, OPTIONS]. Sends as many events,
and prints its version and the ids that it reports as sent and as lost.
"""

import importlib
import json
import sys
from collections.abc import Mapping
from typing import Any


def send(module: str, count: int, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """What it reports. It tells of a batch that is lost, and of none that is sent."""
    lost: list[str] = []
    client = importlib.import_module(f"{module}.client").Client(
        on_error=lambda _, batch: lost.extend(event["messageId"] for event in batch), **options
    )
    ids = [client.track("user-1", "Counted", {"number": number})[1]["messageId"] for number in range(count)]
    client.shutdown()
    version = importlib.import_module(f"{module}.version").VERSION
    return {"version": version, "sent": [each for each in ids if each not in lost], "lost": lost}


if __name__ == "__main__":
    json.dump(send(*json.loads(sys.argv[1])), sys.stdout)
