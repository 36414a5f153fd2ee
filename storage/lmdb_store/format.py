"""Is this a store, and of the format that this version reads?"""

from typing import Any

import lmdb

from storage.codec.records import FORMAT, OLD_FORMATS, unseal
from storage.errors import StoreMissing, StoreOld, StoreVersion
from storage.lmdb_store.making import FORMAT_KEY


def check_format(env: Any) -> None:
    """Raise StoreMissing, StoreVersion or StoreOld if this version cannot read the store in this environment."""
    if not env.stat()["entries"]:
        raise StoreMissing("the environment is empty: its making was interrupted")
    try:
        meta = env.open_db(b"meta", create=False)
    except lmdb.NotFoundError as error:
        raise StoreVersion("this is an LMDB environment, but not a store of Tidegate") from error
    with env.begin() as txn:
        value = txn.get(FORMAT_KEY, db=meta)
    if value is None:
        raise StoreVersion("the store does not say its format")
    found = unseal(b"meta", FORMAT_KEY, value)
    if found != FORMAT:
        theirs, ours = found.decode(errors="replace"), FORMAT.decode()
        words = f"the store has the format {theirs!r}, this version reads {ours!r}"
        if found in OLD_FORMATS:
            raise StoreOld(f"{words}; `tidegate migrate --config FILE` converts it")
        raise StoreVersion(words)
