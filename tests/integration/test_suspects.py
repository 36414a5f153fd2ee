"""Who is a suspect at the start of a server."""

from pathlib import Path

from server.flow.suspects import find_suspects
from storage.model import Group
from storage.statuses import EventStatus
from tests.support.store import numbered, opened, outcome


def test_only_pending_events_are_suspects(tmp_path: Path) -> None:
    """What has an outcome, or is not in the store, as after an older one was put back, is no suspect."""
    with opened(tmp_path) as (store, writer):
        writer.write(Group([numbered(1, 3), numbered(4, 2, source_id="other")]))
        with find_suspects(store).hand().holding([1, 2, 3, 5, 6, 10**12]):
            writer.write(Group((), [outcome(EventStatus.PROCESSED, [2])]))
            suspects = find_suspects(store)
    assert [list(suspects.waiting(each)) for each in ("demo", "other", "third")] == [[1, 3], [5], []]
    assert [suspects.of(number) is not None for number in range(1, 7)] == [True, False, True, False, True, False]


def test_nobody_waits_for_who_cannot_work(tmp_path: Path) -> None:
    """The others may go when every source that can work had its turns; one that cannot keeps its suspects."""
    with opened(tmp_path) as (store, writer):
        writer.write(Group([numbered(1, 1), numbered(2, 1, source_id="other")]))
        with find_suspects(store).hand().holding([1, 2]):
            suspects = find_suspects(store)
    suspects.do_not_await("other")
    assert not suspects.over.is_set()
    suspects.turns_over("demo")
    assert suspects.over.is_set()
    assert (suspects.waiting("demo"), suspects.waiting("other")) == ((), (2,))
