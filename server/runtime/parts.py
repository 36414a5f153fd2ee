"""The composition root: builds every object from the configuration, and hands each the others that it needs."""

from collections.abc import Callable

import trio

from server.base import log
from server.base.byte_budget import ByteBudget
from server.base.clock import Clock
from server.base.worker import Worker
from server.config.capacity import memory_ids_max, read_machine
from server.config.load import Config
from server.config.retention import policy_of
from server.flow.acknowledger import Acknowledger
from server.flow.committer import Committer
from server.flow.engine import Engine
from server.flow.forgetting import Forgetting
from server.flow.indexing import IndexingTask
from server.flow.overwriting import Overwriting
from server.flow.replaying import Replays
from server.flow.retention import RetentionTask
from server.flow.runner import Function, Shared
from server.flow.suspects import find_suspects
from server.http.gate import Gate
from server.observe.health import Health
from server.observe.metrics import Requests
from server.observe.outlook import Capacity
from server.observe.progress import SourceProgress
from server.observe.refusals import Refusals
from server.observe.watch import Watch
from server.runtime.reload import Reload
from storage.dedup.index import DedupIndex
from storage.journal.journal import Journal
from storage.lmdb_store.environment import Store
from storage.lmdb_store.room import Room
from storage.read.reader import Reader
from storage.retain.policy import ON_ITS_WAY_MS
from storage.write.writer import Writer


class Parts:
    """Everything, built and wired; nothing runs yet."""

    def __init__(
        self, config: Config, functions: dict[str, Function], store: Store, log_lines_dropped: Callable[[], int]
    ) -> None:
        self.config = config
        self.log_lines_dropped = log_lines_dropped
        self.store = store
        self.log = log.get("tidegate")
        self.clock = Clock()
        writer = Writer(store)
        if writer.recovered:
            self.log.info("taken from the journal", events=writer.recovered)
        if writer.clock.withholds:
            self.log.warning("the wall clock is not believed", ahead_seconds=writer.clock.now().withheld_ms / 1000)
        self.journal = Journal(store)
        self.committer = Committer(writer, Room(store, config.storage.free_bytes_min))
        self.acknowledger = Acknowledger(self.committer, self.journal)
        self.index = DedupIndex(
            config.dedup.window_ms,
            memory_ids_max(config, read_machine(config.storage.path)),
            config.storage.path,
            longer_ms=ON_ITS_WAY_MS,
        )
        self.index_ready = trio.Event()
        self.lookup, self.looking_up = Reader(store), Worker("look-ups", aside=True)
        self.indexing, self.disk = Worker("index"), Worker("disk")
        self.suspects = find_suspects(store)
        shared = Shared(
            committer=self.committer,
            index=self.index,
            index_ready=self.index_ready,
            indexing=self.indexing,
            reader=Reader(store),
            reading=Worker("reader"),
            budget=ByteBudget(config.queue.bytes_max),
            clock=self.clock,
            suspects=self.suspects,
            events_max=config.queue.events_max,
        )
        self.engine = Engine(shared, writer.totals, self.lookup, self.looking_up)
        self.engine.configure(config.sources, functions)
        self.replays = Replays(
            self.engine,
            self.acknowledger,
            self.committer,
            Reader(store),
            now_ms=self.clock.now_ms,
            backlog_events_max=config.queue.backlog_events_max,
        )
        applies = store.has_defaults or config.retention_is_configured
        self.retention = RetentionTask(
            self.committer,
            store,
            policy_of(config.retention, config.dedup, applies=applies),
            requeueing=self.engine.is_requeueing,
            counted=self.engine.counted,
        )
        self.index_task = IndexingTask(self.committer, store)
        self.watch = Watch(self.engine, self.clock)
        self.progress = SourceProgress(
            self.engine,
            self.lookup,
            self.looking_up,
            self.clock,
            backlog_events_max=config.queue.backlog_events_max,
        )
        self.reload = Reload(config, self.engine)
        self.capacity = Capacity(
            config,
            lambda: self.reload.config.sources,
            self.lookup,
            self.committer.room,
            self.clock,
            retention=applies,
        )
        self.record = Refusals(config.storage.path, list(config.sources), Worker("refusals"), self.clock)
        self.overwriting = Overwriting(
            self.committer, self.acknowledger, store, counted=self.engine.counted, now_ms=self.clock.now_ms
        )
        self.forgetting = Forgetting(
            self.engine,
            committer=self.committer,
            overwriting=self.overwriting,
            replays=self.replays,
            forget_refusals=self.record.forget,
            store=store,
            now_ms=self.clock.now_ms,
        )
        self.health = Health(
            self.committer,
            self.engine,
            self.journal,
            self.index,
            self.index_ready,
            retention=self.retention,
            indexing=self.index_task,
            retention_unset=not applies,
            watch=self.watch,
            progress=self.progress,
            capacity=self.capacity,
            overwriting=self.overwriting,
            reload_succeeded=lambda: self.reload.succeeded,
        )
        self.requests = Requests()
        self.refusals = log.Throttled("tidegate.http", "refused")
        self.gate = Gate(
            self.engine,
            self.acknowledger,
            self.health,
            limits=config.limits,
            backlog_events_max=config.queue.backlog_events_max,
            clock=self.clock,
        )
