"""What a group brings as it is to stand: records of replays, steps of the look-up index, and what is forgotten.

Who planned it kept all others from changing what it changes, so nothing of it is judged here.
"""

from collections.abc import Mapping
from typing import Any

from storage.codec.index_rows import COVERED_KEY, encode_covered
from storage.codec.records import ERASURE_KEY, encode_erasure, encode_replay_record, replay_key
from storage.index_step import IndexStep
from storage.lmdb_store.environment import Store
from storage.retain.remove import Count
from storage.rewrite import Erasure, Rewrite


def erase(erasure: Erasure, txn: Any, store: Store, count: Count) -> None:
    """Do what is left of it: pages were overwritten when the transaction began."""
    if erasure.rewrite is not None:
        _rewrite(erasure.rewrite, txn, store, count)
    if erasure.erased:
        txn.delete(ERASURE_KEY, db=store.meta)


def _rewrite(rewrite: Rewrite, txn: Any, store: Store, count: Count) -> None:
    for database, key in rewrite.deletions:
        txn.delete(key, db=getattr(store, database))
    for database, key, value in rewrite.puts:
        txn.put(key, value, db=getattr(store, database))
    for source_id, events in rewrite.expired.items():
        count(source_id, "expired", events)
    txn.put(ERASURE_KEY, encode_erasure(rewrite.since_ms), db=store.meta, overwrite=False)


def put_replays(records: Mapping[str, bytes | None], txn: Any, store: Store) -> None:
    for identity, record in records.items():
        key = replay_key(identity)
        if record is None:
            txn.delete(key, db=store.meta)
        else:
            txn.put(key, encode_replay_record(key, record), db=store.meta)


def put_index(step: IndexStep, txn: Any, store: Store) -> None:
    for key in step.deletions:
        txn.delete(key, db=store.index)
    for key, value in step.puts:
        txn.put(key, value, db=store.index)
    if step.covered is not None:
        txn.put(COVERED_KEY, encode_covered(step.covered), db=store.meta)
