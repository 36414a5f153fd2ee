"""`trust-clock`: believes the wall clock, so that time which was withheld over a reboot counts."""

from pathlib import Path

from server.cli.client import AdminClient
from server.cli.output import print_record
from server.config.load import DedupConfig, RetentionConfig, StorageConfig, has_section, load_section
from server.config.retention import policy_of
from server.flow.trust import foreseen
from storage.errors import StoreLocked
from storage.lmdb_store.environment import Store
from storage.model import Group
from storage.retain.policy import Retention
from storage.write.writer import Writer

EXPECTED = ("dry_run", "withheld_seconds", "ids_expiring", "bodies_expiring", "receipts_expiring")


def run(config: Path, *, dry_run: bool, shape: str | None) -> int:
    storage = load_section(config, StorageConfig)
    retention = load_section(config, RetentionConfig)
    dedup = load_section(config, DedupConfig)
    is_configured = has_section(config, "retention")
    Store.open(storage.path, mode="read").close()  # opening for writing would create a store
    try:
        store = Store.open(storage.path, map_size_bytes=storage.map_size_bytes, mode="write")
    except StoreLocked:
        with AdminClient(config) as client:
            command = {"dry_run": dry_run}
            print_record(client.post("/trust-clock", command, EXPECTED), shape)
    else:
        try:
            policy = policy_of(retention, dedup, applies=store.has_defaults or is_configured)
            print_record(_in_store(store, policy, dry_run=dry_run), shape)
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
