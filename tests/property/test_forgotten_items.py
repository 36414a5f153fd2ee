"""Items taken out of a body, whatever else is in it."""

import json
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.intake.events import build_events
from server.intake.forgetting import without_items
from storage.deliveries import NumberedDeliveries
from tests.support.store import delivery

BLANKS = st.text(" \t\n\r", max_size=2)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=4), each, max_size=3),
    max_leaves=8,
)
ITEMS = st.lists(st.dictionaries(st.text(max_size=6), VALUES, max_size=3), min_size=2, max_size=6)
NAMES = {"segment": ["batch", "b\\u0061tch"], "webhook": ["value", "\\u0076alue"]}


def written(value: object, blank: str) -> str:
    return json.dumps(value, separators=(f"{blank},{blank}", f"{blank}:{blank}"))


Write = Callable[[Collection[int]], str]


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, int, Write]:
    """Type of the source, how many items, and what writes the body without some of them."""
    kind, items, blank = draw(st.sampled_from(sorted(NAMES))), draw(ITEMS), draw(BLANKS)

    def listed(gone: Collection[int]) -> str:
        texts = ["null" if at in gone else written(each, blank) for at, each in enumerate(items)]
        return f"[{blank}{f'{blank},{blank}'.join(texts)}{blank}]"

    if kind == "webhook" and draw(st.booleans()):
        return kind, len(items), lambda gone: f"{blank}{listed(gone)}{blank}"
    name = draw(st.sampled_from(NAMES[kind]))
    others = draw(st.dictionaries(st.text('xyz"\\[{,', min_size=1, max_size=4), VALUES, max_size=3))
    repeated = draw(st.lists(VALUES, max_size=2))

    def whole(gone: Collection[int]) -> str:
        members = [f"{json.dumps(key)}:{blank}{written(value, blank)}" for key, value in others.items()]
        members += [f'"{name}":{"null" if gone else written(each, blank)}' for each in repeated]
        members.append(f'{blank}"{name}"{blank}:{blank}{listed(gone)}')
        members += [f'"behind":{written(value, blank)}' for value in others.values()]
        return "{" + f"{blank},".join(members) + "}"

    return kind, len(items), whole


@given(bodies(), st.sets(st.integers(0, 5), min_size=1))
def test_other_items_stay_byte_for_byte(made: tuple[str, int, Write], wanted: set[int]) -> None:
    """What is taken out is null in its place, and so is a list of the same name that never counted; if all are taken
    out nothing is left."""
    kind, count, write = made
    gone = {position % count for position in wanted}
    one = delivery(1, [f"id-{at}" for at in range(count)], source_type=kind, body=write(()).encode()).deliveries
    assert without_items(one, 0, gone) == (b"" if len(gone) == count else write(gone).encode())


@given(ITEMS, st.data())
def test_events_of_the_others_are_built_as_before(items: list[Any], data: st.DataObject) -> None:
    """From a body without some items come the same events; of those taken out there is no payload."""
    gone = data.draw(st.sets(st.integers(0, len(items) - 1), min_size=1, max_size=len(items) - 1))
    numbered = delivery(1, [f"id-{at}" for at in range(len(items))], body=json.dumps(items).encode())
    cut = replace(numbered.deliveries, bodies=[without_items(numbered.deliveries, 0, gone)])
    before = build_events(numbered, range(len(items)))
    after = build_events(NumberedDeliveries(1, numbered.suffix, cut), range(len(items)))
    assert [None if at in gone else each["payload"] for at, each in enumerate(before)] == [
        each["payload"] for each in after
    ]
