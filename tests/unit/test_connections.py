"""The register of connections: who is idle, who is evicted, who may connect."""

from dataclasses import dataclass

from server.http.connections import Connections


@dataclass(eq=False)
class Fake:
    """A connection that notes that it was evicted."""

    is_authenticated: bool = False
    evicted: bool = False

    def stop_waiting(self) -> None:
        self.evicted = True


def test_unauthenticated_ones_are_evicted_first() -> None:
    """Unauthenticated ones are evicted first, each kind in the order of becoming idle; busy ones never."""
    connections = Connections(100)
    unauthenticated, early, late, late_unauthenticated, busy = (Fake() for _ in range(5))
    for connection in (early, unauthenticated, late, late_unauthenticated, busy):
        assert connections.add(connection)
    for connection in (early, late):
        connections.mark_busy(connection)
        connection.is_authenticated = True
        connections.mark_idle(connection)
    connections.mark_busy(busy)
    for expected in (unauthenticated, late_unauthenticated, early, late):
        assert not expected.evicted
        assert connections.evict()
        assert expected.evicted
    assert not connections.evict()
    assert (len(connections), busy.evicted) == (1, False)


def test_a_full_listener_evicts_idle_ones() -> None:
    """When full an idle one leaves for the new one; when all are busy the new one stays outside."""
    connections = Connections(1)
    first, second, third = Fake(), Fake(), Fake()
    assert connections.add(first)
    assert connections.add(second)
    assert first.evicted
    connections.mark_busy(second)
    assert not connections.add(third)
    assert len(connections) == 1


def test_an_evicted_one_stays_away() -> None:
    """A connection that was evicted and then says that it is idle takes no place, and may be removed again."""
    connections = Connections(1)
    first, second = Fake(), Fake()
    connections.add(first)
    connections.add(second)
    connections.mark_idle(first)
    connections.remove(first)
    assert len(connections) == 1
    connections.close_idle()
    assert second.evicted
    assert len(connections) == 0
