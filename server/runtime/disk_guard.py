"""Looks at the disk of the store, so that one that somebody else fills is noticed before a write finds no room."""

import trio

from server.base import log
from server.base.worker import Worker
from server.observe.health import shortage
from storage.lmdb_store.room import Room

LOOK_SECONDS = 1.0
"""Between two looks: a few system calls."""


async def guard_disk(room: Room, worker: Worker) -> None:
    """Look for ever, and say when deliveries begin and cease to be refused."""
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
