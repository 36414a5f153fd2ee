"""Peer: Granian with its own RSGI protocol, the job of bench/peers/same_job.py.

PEER_DATA and PEER_TOKEN name the store's directory and the token.
"""

import asyncio
import os
from typing import Any

from bench.peers.group_commit import GroupCommit
from bench.peers.same_job import Archive, Intake, RefusedError

JSON = [("content-type", "application/json")]


class Application:
    """Granian calls `__rsgi_init__` once, then the object for each request."""

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.intake = Intake(os.environ["PEER_TOKEN"])
        self.archive = Archive(os.environ["PEER_DATA"])
        self.committer: GroupCommit | None = None

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if self.committer is None:
            self.committer = GroupCommit(self.archive)
        try:
            source = self.intake.check(scope.method, scope.path, scope.headers.get("authorization") or "")
            body = await protocol()
            delivery = self.intake.read(source, scope.headers.items(), body, scope.client.rpartition(":")[0])
            await self.committer.durable(delivery)
        except RefusedError as refused:
            protocol.response_bytes(refused.status, JSON, refused.body)
        except Exception:  # noqa: BLE001 - the store's, whatever they are
            protocol.response_bytes(503, [*JSON, ("retry-after", "5")], b'{"code":"storage_failed","message":""}')
        else:
            protocol.response_bytes(200, JSON, delivery.answer())


app = Application()
