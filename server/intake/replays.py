"""What is received when archived events are to be processed anew, and by whom. No I/O, no clock."""

from collections.abc import Sequence

import orjson

from server.base.refusal import Refusal, refuse
from server.intake.batches import stored_items, with_items
from storage.deliveries import Deliveries, NumberedDeliveries


def again(numbered: NumberedDeliveries, positions: Sequence[int], source_id: str, now_ms: int) -> Deliveries:
    """Return these events of one delivery, with its body, as a delivery of a source that is received now.

    If they are not all of it, its body has their items alone, and they count from 0: no stranger comes along.
    """
    found = numbered.deliveries
    is_whole = len(positions) == found.counts[0]
    places = list(found.indexes) if is_whole else list(range(len(positions)))
    return Deliveries(
        source_id=source_id,
        source_type=found.source_type,
        received_at_ms=[now_ms],
        remote_addrs=found.remote_addrs,
        headers=found.headers,
        sent_at=found.sent_at,
        batched=found.batched,
        batch_sizes=found.batch_sizes if is_whole else [len(positions)],
        rejected=[()],
        counts=[len(positions)],
        bodies=found.bodies if is_whole else [_cut(found, positions)],
        body_hashes=(),
        ids=[numbered.event_id(position) for position in positions],
        id_from=[found.id_from[position] for position in positions],
        provider_ids=[found.provider_ids[position] for position in positions],
        types=[found.types[position] for position in positions],
        indexes=places,
        payload_from=[found.payload_from[position] for position in positions],
        unsigned=[found.unsigned[position] for position in positions],
        replay_of=[numbered.first + position for position in positions],
    )


def _cut(found: Deliveries, positions: Sequence[int]) -> bytes:
    """Return the body with these items alone. Only a batch has more than one."""
    parsed = orjson.loads(found.bodies[0])
    items = stored_items(found.source_type, parsed)
    chosen = [items[found.indexes[position]] for position in positions]
    return orjson.dumps(with_items(found.source_type, parsed, chosen))


def target_refusal(to: str, *, has_processor: bool | None) -> Refusal | None:
    """Return why nothing can be replayed to this source, None if it can. `has_processor`: None if there is no such
    source."""
    if has_processor is None:
        return refuse("not_found", f"the configuration has no source {to!r}")
    if not has_processor:
        return refuse("invalid_request", f"the source {to!r} has no processor to give the events to")
    return None
