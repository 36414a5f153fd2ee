"""`trust-clock`: believes the wall clock, so that time which was withheld over a reboot counts."""

import argparse

from server.cli.client import AdminClient
from server.cli.common import Subparsers, new_command, print_json
from server.config.load import DedupConfig, RetentionConfig, StorageConfig, has_section, load_section
from server.config.retention import policy_of
from server.flow.trust import foreseen
from storage.errors import StoreLocked
from storage.lmdb_store.environment import Store
from storage.model import Group
from storage.retain.policy import Retention
from storage.write.writer import Writer

EXPECTED = ("dry_run", "withheld_seconds", "ids_expiring", "bodies_expiring", "receipts_expiring")


def add(commands: Subparsers) -> None:
    parser = new_command(
        commands,
        "trust-clock",
        "believe the wall clock: time that was withheld over a reboot counts",
        "Through the admin side of the running server, or directly if none runs. Prints by how many seconds the "
        "store's time goes on, how many ids leave the dedup window with that, and how many events' bodies and "
        "receipts leave the store.",
    )
    parser.add_argument("--dry-run", action="store_true", help="change nothing, only print")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    storage = load_section(arguments.config, StorageConfig)
    retention = load_section(arguments.config, RetentionConfig)
    dedup = load_section(arguments.config, DedupConfig)
    is_configured = has_section(arguments.config, "retention")
    Store.open(storage.path, mode="read").close()  # opening for writing would create a store
    try:
        store = Store.open(storage.path, map_size_bytes=storage.map_size_bytes, mode="write")
    except StoreLocked:
        with AdminClient(arguments.config) as client:
            command = {"dry_run": arguments.dry_run}
            print_json(client.post("/trust-clock", command, EXPECTED))
    else:
        try:
            policy = policy_of(retention, dedup, applies=store.has_defaults or is_configured)
            print_json(_in_store(store, policy, dry_run=arguments.dry_run))
        finally:
            store.close()
    return 0


def _in_store(store: Store, policy: Retention, *, dry_run: bool) -> dict[str, object]:
    writer = Writer(store)
    found = foreseen(store, writer.clock.now(), policy)
    if not dry_run:
        writer.clock.trust()
        writer.write(Group())
    return found.report(dry_run=dry_run)
