"""The id of a source that somebody typed: one that is not there is refused, with the one that was probably meant."""

from collections.abc import Iterable
from contextlib import closing
from difflib import get_close_matches
from pathlib import Path

from server.base.source import Source
from server.cli.exit_codes import ERROR, MISTAKE
from server.cli.failure import CommandFailed
from server.config.load import Config, StorageConfig, load_section, source_ids
from storage.lmdb_store.environment import Store
from storage.read.reader import Reader


def check_known(config: Path, source: str | None, reader: Reader) -> None:
    """Raise CommandFailed if neither the configuration nor the store has this source. None: all of them."""
    known = (*source_ids(config), *reader.totals())
    if source is not None and source not in known:
        words = f"neither the configuration nor the store has a source {source!r}"
        raise CommandFailed(ERROR, with_probable(words, source, known))


def check_known_in_store(config: Path, *sources: str) -> None:
    """As `check_known`, for commands that do not read the store themselves. Raises StoreMissing if there is none."""
    with closing(Store.open(load_section(config, StorageConfig).path, mode="read")) as store:
        reader = Reader(store)
        for source in sources:
            check_known(config, source, reader)


def configured(config: Config, source: str) -> Source:
    """Return the source of this id. Raises CommandFailed if the configuration does not have it."""
    if source in config.sources:
        return config.sources[source]
    words = f"there is no source {source!r} in {config.path}; there are: {', '.join(config.sources) or 'none'}"
    raise CommandFailed(MISTAKE, with_probable(words, source, config.sources))


def with_probable(words: str, source: str, known: Iterable[str]) -> str:
    """Return the words, and which of the known sources was probably meant, if one is like it."""
    found = get_close_matches(source, sorted(set(known)), n=1)
    return f"{words}; did you mean {found[0]}?" if found else words
