"""The register of connections: who is idle, who goes, who may come in."""

from dataclasses import dataclass

from server.http.connections import Connections


@dataclass(eq=False)
class Fake:
    """A connection that notes that it was sent away."""

    is_known: bool = False
    sent_away: bool = False

    def stop_waiting(self) -> None:
        self.sent_away = True


def test_strangers_leave_before_known_ones() -> None:
    """Strangers leave before known ones, each kind in the order in which they fell idle; busy ones never."""
    connections = Connections(100)
    stranger, known_early, known_late, late_stranger, busy = (Fake() for _ in range(5))
    for connection in (known_early, stranger, known_late, late_stranger, busy):
        assert connections.add(connection)
    for connection in (known_early, known_late):
        connections.fell_busy(connection)
        connection.is_known = True
        connections.fell_idle(connection)
    connections.fell_busy(busy)
    for expected in (stranger, late_stranger, known_early, known_late):
        assert not expected.sent_away
        assert connections.evict()
        assert expected.sent_away
    assert not connections.evict()
    assert (len(connections), busy.sent_away) == (1, False)


def test_a_full_listener_evicts_idle_ones() -> None:
    """When full an idle one leaves for the new one; when all are busy the new one stays outside."""
    connections = Connections(1)
    first, second, third = Fake(), Fake(), Fake()
    assert connections.add(first)
    assert connections.add(second)
    assert first.sent_away
    connections.fell_busy(second)
    assert not connections.add(third)
    assert len(connections) == 1


def test_sent_away_stays_away() -> None:
    """A connection that was sent away and then says that it is idle takes no place, and may be removed again."""
    connections = Connections(1)
    first, second = Fake(), Fake()
    connections.add(first)
    connections.add(second)
    connections.fell_idle(first)
    connections.remove(first)
    assert len(connections) == 1
    connections.close_idle()
    assert second.sent_away
    assert len(connections) == 0
