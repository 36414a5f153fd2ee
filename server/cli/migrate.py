"""`migrate`: converts a stopped store of an older format to this version's."""

from pathlib import Path

from server.cli.exit_codes import ERROR
from server.cli.failure import CommandFailed, say
from server.cli.progress import Steps
from server.config.capacity import size
from server.config.load import StorageConfig, load_section
from storage.errors import StoreDamaged, StoreError, StoreLocked
from storage.migrate import convert
from storage.migrate.convert import clear, is_old, kept_files, migrate


def run(config: Path, *, discard_old: bool) -> int:
    storage = load_section(config, StorageConfig)
    if discard_old:
        return _discard(storage.path)
    if not is_old(storage.path):
        clear(storage.path)
        say(f"the store in {storage.path} has the format of this version: nothing to do")
    else:
        _migrate(storage)
    kept = kept_files(storage.path)
    if kept:
        say(f"kept of the older format: {_listed(kept)}; `tidegate migrate --discard-old` removes it")
    return 0


def _migrate(storage: StorageConfig) -> None:
    try:
        with Steps() as steps:
            done = migrate(storage.path, storage.map_size_bytes, steps.update)
    except StoreLocked as error:
        raise CommandFailed(ERROR, f"{error}: stop it first") from None
    except StoreDamaged as error:
        raise CommandFailed(
            ERROR,
            f"the store is damaged: {error}",
            "nothing was changed; `tidegate verify` of the version that wrote it says more",
        ) from None
    except (StoreError, OSError) as error:
        unchanged = "nothing was changed" if is_old(storage.path) else "run it again"
        raise CommandFailed(ERROR, f"the store was not converted: {error}", unchanged) from None
    recovered = f", {done.recovered:,} of them from its journal" if done.recovered else ""
    say(f"the store in {storage.path} has the format of this version now: {done.events:,} events{recovered}")


def _discard(path: Path) -> int:
    kept = kept_files(path)
    words = _listed(kept) if kept else "nothing was kept of an older format"
    convert.discard_old(path)
    say(f"removed: {words}" if kept else words)
    return 0


def _listed(files: list[Path]) -> str:
    return ", ".join(f"{each.name} ({size(each.stat().st_size)})" for each in files)
