"""`trust-clock`: believes the wall clock, so that time which was withheld over a reboot counts."""

import argparse

from server.cli.client import AdminClient
from server.cli.common import Subparsers, new_command, print_json
from server.config.load import DedupConfig, StorageConfig, load_section
from server.flow.trust import foreseen
from storage.errors import StoreLocked
from storage.lmdb_store.environment import Store
from storage.model import Group
from storage.read.reader import Reader
from storage.write.writer import Writer


def add(commands: Subparsers) -> None:
    parser = new_command(
        commands,
        "trust-clock",
        "believe the wall clock: time that was withheld over a reboot counts",
        "Through the admin side of the running server, or directly if none runs. Prints by how many seconds the "
        "store's time goes on, and how many ids leave the dedup window with that.",
    )
    parser.add_argument("--dry-run", action="store_true", help="change nothing, only print")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    storage = load_section(arguments.config, StorageConfig)
    window_ms = load_section(arguments.config, DedupConfig).window_ms
    Store.open(storage.path, mode="read").close()  # opening for writing would create a store
    try:
        store = Store.open(storage.path, map_size_bytes=storage.map_size_bytes, mode="write")
    except StoreLocked:
        with AdminClient(arguments.config) as client:
            command = {"dry_run": arguments.dry_run}
            print_json(client.post("/trust-clock", command, ("dry_run", "withheld_seconds", "ids_expiring")))
    else:
        try:
            print_json(_in_store(store, window_ms, dry_run=arguments.dry_run))
        finally:
            store.close()
    return 0


def _in_store(store: Store, window_ms: int, *, dry_run: bool) -> dict[str, object]:
    writer = Writer(store)
    found = foreseen(Reader(store), writer.clock.now(), window_ms)
    if not dry_run:
        writer.clock.trust()
        writer.write(Group())
    return found.report(dry_run=dry_run)
