"""`retry`: what waits after a failure is tried now, by the running server."""

from pathlib import Path

from server.cli.client import AdminClient
from server.cli.failure import say
from server.cli.known_source import check_known_in_store
from server.cli.output import print_record
from server.config.load import StorageConfig, load_section
from storage.errors import StoreLocked
from storage.lmdb_store.environment import Store


def run(config: Path, source: str, *, shape: str | None) -> int:
    storage = load_section(config, StorageConfig)
    try:
        check_known_in_store(config, source)  # opening for writing would create a store
        Store.open(storage.path, map_size_bytes=storage.map_size_bytes, mode="write").close()
    except StoreLocked:
        with AdminClient(config) as client:
            print_record(client.post("/retry", {"source": source}, ("retried", "source_waited")), shape)
    else:
        say("no server runs; at its start everything that waits after a failure is tried at once")
        print_record({"retried": 0, "source_waited": False}, shape)
    return 0
