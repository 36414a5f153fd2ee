"""What a server does every so often, for ever."""

import trio

from server.base import log
from server.base.worker import Worker
from server.flow.committer import Committer
from server.observe.health import shortage
from server.observe.watch import Watch
from storage.lmdb_store.environment import Store
from storage.lmdb_store.room import Room

LOOK_SECONDS = 1.0
"""Between two looks at the disk: so soon is one noticed that somebody else fills, before a write finds no room."""

WATCH_SECONDS = 1.0
"""How exactly it is known when a request was last accepted."""

READER_CHECK_SECONDS = 5
"""How often the places of readers that were killed are freed: each may pin pages, so that the store would grow; and a
command that finds no place waits a little longer than this."""

TIME_WRITE_SECONDS = 3600
"""How often the store's time is written when nothing else is: over a reboot it goes on from the newest record."""


async def guard_disk(room: Room, worker: Worker) -> None:
    """Look at the disk, and say when deliveries begin and cease to be refused."""
    logger = log.get("tidegate")
    was_full = False
    while True:
        if room.is_full and not was_full:
            logger.warning("no room: deliveries are refused", reason=shortage(room))
        elif was_full and not room.is_full:
            logger.info("there is room again: deliveries are taken")
        was_full = room.is_full
        await trio.sleep(LOOK_SECONDS)
        room.saw(await worker.run(room.look))


async def keep_watch(watch: Watch) -> None:
    """Look which sources are heard from."""
    while True:
        await trio.sleep(WATCH_SECONDS)
        watch.look()


async def write_time(committer: Committer) -> None:
    """Write the store's time."""
    while True:
        await trio.sleep(TIME_WRITE_SECONDS)
        await committer.write_time()


async def check_readers(store: Store, worker: Worker) -> None:
    """Free the places of readers that were killed."""
    while True:
        await trio.sleep(READER_CHECK_SECONDS)
        await worker.run(store.reader_check)
