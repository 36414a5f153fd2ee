"""The server: starts in order the parts that `parts.py` builds, gives each listener what it asks, stops in reverse."""

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

import trio

from server import __version__
from server.base.refusal import Refusal
from server.base.worker import Worker
from server.config.load import Config
from server.flow.runner import Function
from server.flow.trust import foreseen
from server.http.admin.command_routes import Commands
from server.http.admin.finding import Finding
from server.http.admin.routes import build_admin_app
from server.http.asgi.routes import build_public_app
from server.http.fast.event_loop import FastIntake
from server.http.frontend import RefusedRequest
from server.http.listener import serve as serve_http
from server.observe.health import storage_refusal
from server.observe.metrics import Metrics
from server.observe.sources import describe_sources
from server.runtime.chores import (
    check_readers,
    guard_disk,
    keep_progress,
    keep_watch,
    look_ahead,
    tell_refusals,
    write_time,
)
from server.runtime.gc import collect_young, tune
from server.runtime.parts import Parts
from server.runtime.signals import HangUp, notify
from storage.lmdb_store.environment import Store
from storage.read.reader import Reader

RECORD_SECONDS = 1.0
"""The longest that a drain waits for the record of refused requests: it is not worth more."""


class Server(Parts):
    """The server that these parts make. `start` and `drain` read top to bottom in the order that they promise."""

    def __init__(
        self, config: Config, functions: dict[str, Function], store: Store, log_lines_dropped: Callable[[], int]
    ) -> None:
        super().__init__(config, functions, store, log_lines_dropped)
        self.drain_requested = trio.Event()
        self._public_closing, self._public_closed = trio.Event(), trio.Event()
        self._engine_stopped = trio.Event()

    async def start(
        self, nursery: trio.Nursery, public: Sequence[socket.socket], admin: Sequence[socket.socket]
    ) -> None:
        """Start everything from the committer outward: what takes deliveries in comes last."""
        nursery.start_soon(self.committer.run)
        nursery.start_soon(self.acknowledger.run)
        nursery.start_soon(self.gate.turns.run)
        nursery.start_soon(self._work)
        nursery.start_soon(self._rebuild_index)
        nursery.start_soon(self.replays.run)
        nursery.start_soon(self.overwriting.run)
        nursery.start_soon(self.record.run)
        nursery.start_soon(keep_watch, self.watch)
        nursery.start_soon(check_readers, self.store, self.looking_up)
        nursery.start_soon(write_time, self.committer)
        nursery.start_soon(guard_disk, self.committer.room, self.disk)
        nursery.start_soon(tell_refusals, self.committer, self.clock)
        nursery.start_soon(keep_progress, self.progress)
        nursery.start_soon(look_ahead, self.capacity, self.looking_up)
        nursery.start_soon(collect_young)
        nursery.start_soon(self.retention.run)
        nursery.start_soon(self.index_task.run)
        hang_up = HangUp(self.drain_requested.is_set)
        nursery.start_soon(self.reload.on_sighup, hang_up)
        nursery.start_soon(hang_up.watch)
        if self.committer.store_clock.rebooted:
            await self.committer.write_time()
        if not any(state.totals.received for state in self.engine.states):
            await self.index_ready.wait()  # an empty store: no warning that would last for a moment
        ingest_urls = ", ".join(f"http://{_address(sock)}/ingest/inbound/<source>" for sock in public)
        admin_urls = ", ".join(f"http://{_address(sock)}" for sock in admin)
        await nursery.start(self._serve_admin, admin)
        await nursery.start(self._serve_public, public)
        tune()
        self.health.started = True
        notify(f"READY=1\nMAINPID={os.getpid()}")
        self.log.info(
            "ready",
            version=__version__,
            pid=os.getpid(),
            ingest=ingest_urls,
            admin=admin_urls,
            store=str(self.config.storage.path),
            sources=sorted(self.config.sources),
            pending=sum(state.pending for state in self.engine.states),
        )

    async def drain(self) -> None:
        """Stop in order: readiness off, no new connections, requests in hand answered, calls in hand finished, the last
        commit."""
        self.log.info("draining", deadline_seconds=self.config.limits.drain_timeout_seconds)
        notify("STOPPING=1")
        self.health.draining = True
        self._public_closing.set()
        await self._public_closed.wait()
        self.engine.stop()
        await self._engine_stopped.wait()
        await self.forgetting.stop()
        await self.overwriting.stop()
        await self.acknowledger.settled()
        await self.index_task.stop()
        await self.retention.stop()
        with trio.move_on_after(RECORD_SECONDS):
            await self.record.flush()
        if self.committer.is_settled:
            self.journal.clear()
        self.log.info("stopped", pending=sum(state.pending for state in self.engine.states))

    @property
    def descriptors(self) -> Sequence[int]:
        """Those that it cannot work without, beside its sockets and what the store is written through."""
        lock = self.store.lock_file
        return [*([] if lock is None else [lock]), self.committer.done_file, self.acknowledger.done_file]

    def in_hand(self) -> str:
        """Return what a drain still waits for, in words; may be called from any thread."""
        found = []
        if busy := self.engine.busy:
            found.append(f"processors of {', '.join(busy)}")
        if self.committer.failure is not None:
            found.append(f"outcomes that cannot be written: {self.committer.failure}")
        if self._public_closing.is_set() and not self._public_closed.is_set():
            found.append("requests of slow clients")
        return "; ".join(found) or "the last commit"

    async def trust_clock(self, dry_run: bool) -> dict[str, object] | Refusal:
        """Believe the wall clock, unless it is a dry run; return what comes of it."""
        clock = self.committer.store_clock
        found = await self.looking_up.run(foreseen, self.store, clock.now(), self.retention.policy)
        if not dry_run:
            clock.trust()
            await self.committer.write_time()
            if self.committer.failure is not None:
                return storage_refusal(self.committer.failure)
            self.log.info("the wall clock is believed", **found.report(dry_run=False))
        return found.report(dry_run=dry_run)

    def observe(self, status: int, code: str, seconds: float, refused: RefusedRequest | None = None, /) -> None:
        """Count, log and record an answer, whichever listener and layer gave it."""
        self.requests.observe(status, code, seconds)
        if refused is not None and refused.grounds is not None:
            self.record.note(status, code, refused.remote_addr, refused.line, refused.grounds)
            if status == 401:
                self.watch.unauthorized(refused.grounds.source_id)
            if code == "overloaded" and refused.grounds.is_known:
                self.progress.refused(refused.grounds.source_id)
        self.heard(status, code, seconds, refused)

    def heard(self, status: int, code: str, _seconds: float, refused: RefusedRequest | None = None, /) -> None:
        """Log an answer of the admin side: who watches the server is not traffic, and counts in no metric."""
        if refused is not None:
            self.refusals.warn(code, code=code, status=status, **refused.known())

    async def _work(self) -> None:
        await self.engine.run()
        self._engine_stopped.set()

    async def _serve_public(self, sockets: Sequence[socket.socket], *, task_status: Any) -> None:
        limits = self.config.limits
        app = build_public_app(
            self.gate,
            self.health,
            self.observe,
            body_timeout_seconds=limits.body_timeout_seconds,
            trusted_proxies=self.config.server.trusted_proxies,
        )
        trigger = self._public_closing.wait
        await serve_http(
            app,
            sockets,
            limits,
            shutdown_trigger=trigger,
            name="public",
            observe=self.observe,
            fast=FastIntake(self.gate, self.config.server.trusted_proxies, self.requests.accepted)
            if self.config.server.fast_lane
            else None,
            task_status=task_status,
        )
        self._public_closed.set()

    async def _serve_admin(self, sockets: Sequence[socket.socket], *, task_status: Any) -> None:
        limits = self.config.limits
        metrics = Metrics(
            requests=self.requests,
            engine=self.engine,
            acknowledger=self.acknowledger,
            committer=self.committer,
            store=self.store,
            reader=self.lookup,
            worker=self.looking_up,
            idle=self.acknowledger.idle,
            clock=self.clock,
            refusals=self.record,
            watch=self.watch,
            progress=self.progress,
            is_ready=lambda: self.health.refusal() is None,
            reload_succeeded=lambda: self.reload.succeeded,
            log_lines_dropped=self.log_lines_dropped,
            full_at_seconds=lambda: self.capacity.full_at_seconds,
        )
        app = build_admin_app(
            health=self.health,
            metrics=metrics.render,
            sources=lambda: describe_sources(self.engine.states),
            is_source=self.engine.is_source,
            capacity=self.capacity.describe,
            commands=Commands(
                requeue=self.engine.requeue,
                discard=self.engine.discard,
                forget=self.forgetting.forget,
                retry=self.engine.retry,
                trust_clock=self.trust_clock,
                replays=self.replays,
                now_ms=self.clock.now_ms,
            ),
            reasons=self.engine.reasons,
            refusals=self.record.read,
            reader=self.lookup,
            worker=self.looking_up,
            finding=Finding(
                (Reader(self.store), Reader(self.store)),
                (Worker("find", aside=True), Worker("tail", aside=True)),
                self.clock.now_ms,
                end=lambda: self.committer.stored_end,
                committed=self.committer.group_ended,
                recent=self.committer.recent,
                idle=self.acknowledger.idle,
            ),
            flushed=self.committer.flushed,
            observe=self.heard,
            token=lambda: self.reload.config.server.admin_token,
            ingest_address=str(self.config.server.bind),
            body_timeout_seconds=limits.body_timeout_seconds,
        )
        trigger = trio.sleep_forever
        await serve_http(
            app,
            sockets,
            limits,
            shutdown_trigger=trigger,
            name="admin",
            observe=self.heard,
            task_status=task_status,
        )

    async def _rebuild_index(self) -> None:
        horizon_ms = await self.engine.horizon.find()
        chunks = Reader(self.store).processed_since(max(0, horizon_ms - self.index.window_ms))
        await self.indexing.run(self.index.rebuild, chunks, horizon_ms)
        await self._feed_skipped()
        self.index_ready.set()
        self.log.info("index ready", known_ids=len(self.index), in_files=self.index.mapped_ids)

    async def _feed_skipped(self) -> None:
        """If totals name too high a number as their oldest pending event, find what waits before it and feed it."""
        oldest = {state.id: state.totals.oldest for state in self.engine.states if state.totals.pending}
        found = await self.indexing.run(Reader(self.store).skipped, oldest)
        for span in found:
            self.log.warning("events had been skipped", source=span.source_id, first=span.numbers[0])
        self.engine.feed_skipped(found)


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
