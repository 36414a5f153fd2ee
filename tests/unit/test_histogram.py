"""Histograms in plain numbers."""

from server.base.histogram import Histogram


def test_a_bound_belongs_to_its_bucket() -> None:
    """Upper bounds are inclusive, as Prometheus has them; what is over the last one goes to +Inf."""
    histogram = Histogram((1, 2))
    for value in (0.5, 1, 1.5, 2, 3):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.sum == 8
