"""Peer: Starlette on uvicorn (uvloop, httptools), the job of bench/peers/same_job.py.

PEER_DATA and PEER_TOKEN name the store's directory and the token.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette  # type: ignore[import-not-found]
from starlette.requests import Request  # type: ignore[import-not-found]
from starlette.responses import Response  # type: ignore[import-not-found]
from starlette.routing import Route  # type: ignore[import-not-found]

from bench.peers.group_commit import GroupCommit
from bench.peers.same_job import Archive, Intake, RefusedError

INTAKE = Intake(os.environ["PEER_TOKEN"])


@asynccontextmanager
async def lifespan(application: Starlette) -> AsyncIterator[None]:
    application.state.committer = GroupCommit(Archive(os.environ["PEER_DATA"]))
    yield


async def ingest(request: Request) -> Response:
    try:
        source = INTAKE.check(request.method, request.url.path, request.headers.get("authorization", ""))
        body = await request.body()
        delivery = INTAKE.read(source, request.headers.items(), body, request.client.host)
        await request.app.state.committer.durable(delivery)
    except RefusedError as refused:
        return Response(refused.body, refused.status, media_type="application/json")
    except Exception:  # noqa: BLE001 - the store's, whatever they are
        return Response(b'{"code":"storage_failed","message":""}', 503, {"retry-after": "5"}, "application/json")
    return Response(delivery.answer(), media_type="application/json")


app = Starlette(routes=[Route("/ingest/inbound/{source}", ingest, methods=["POST"])], lifespan=lifespan)
