"""What a running Tidegate says of itself: its health, its sources, and how long its commits took."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from bench.child import Child
from bench.handshake import talk

Buckets = Mapping[float, int]
"""By upper bound in seconds: how many commits took at most so long."""


def get(port: int, path: str) -> bytes | None:
    """The body of an answer 200, None where there is another or none."""
    with talk(port) as connection:
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        except OSError:
            return None
    return body if answer.status == 200 else None


def commits(child: Child) -> Buckets:
    """All commits since the start."""
    text = (get(port_of(child), "/metrics") or b"").decode()
    found = re.findall(r'^tidegate_commit_seconds_bucket\{le="([^"]+)"\} (\S+)$', text, re.MULTILINE)
    return {float(bound): int(float(count)) for bound, count in found}


def sources(child: Child) -> list[dict[str, Any]]:
    """As /sources has them."""
    return list(orjson.loads(get(port_of(child), "/sources") or b"{}")["sources"])


def quantile_ms(before: Buckets, after: Buckets, share: float) -> float:
    """What this share of the commits in between did not exceed, in milliseconds: within its bucket by a straight line,
    so it is as exact as the buckets are narrow. NaN where there was none.
    """
    counts = {bound: count - before[bound] for bound, count in after.items()}
    wanted = share * counts[float("inf")]
    low, below = 0.0, 0
    for bound, count in counts.items():
        if count >= wanted > 0:
            high = bound if bound != float("inf") else low
            return (low + (high - low) * (wanted - below) / max(1, count - below)) * 1000
        low, below = bound, count
    return float("nan")


def port_of(child: Child) -> int:
    """Of its admin side. Raises RuntimeError where the log does not name it."""
    found = re.search(r'"admin": ?"http://127\.0\.0\.1:(\d+)"', child.output())
    if found is None:
        raise RuntimeError(f"the log names no admin address:\n{child.output()}")
    return int(found[1])
