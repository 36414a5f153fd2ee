"""Families of metrics in Prometheus' text format, against what the client library makes of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from server.observe.families import text_of

COUNTS = st.integers(0, 2**63)


@st.composite
def families(draw: st.DrawFn) -> Metric:
    """A counter, gauge or histogram with samples of up to two labels, of which there may be none."""
    labels = draw(st.sampled_from([[], ["source"], ["source", "code"]]))
    values = st.lists(st.text(), min_size=len(labels), max_size=len(labels))
    kind, words = draw(st.sampled_from(["counter", "gauge", "histogram"])), draw(st.text())
    if kind == "histogram":
        found = HistogramMetricFamily("tidegate_seconds", words, labels=labels)
        for each in draw(st.lists(values, max_size=3)):
            bounds = [(bound, draw(COUNTS)) for bound in ("0.005", "1.0", "+Inf")]
            found.add_metric(each, bounds, draw(st.floats(0)))
        return found
    make = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
    family = make("tidegate_things", words, labels=labels)
    for each in draw(st.lists(values, max_size=3)):
        family.add_metric(each, draw(st.booleans() | COUNTS | st.floats()))
    return family


class One(Collector):
    """A collector of one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> list[Metric]:
        return [self._family]


def by_the_client(family: Metric) -> bytes:
    registry = CollectorRegistry()
    registry.register(One(family))
    return generate_latest(registry)


@given(families())
def test_the_text_is_the_client_librarys(family: Metric) -> None:
    """Byte for byte, whatever stands in words, labels and values."""
    assert text_of(family) == by_the_client(family)


@pytest.mark.parametrize("collector", [ProcessCollector, PlatformCollector])
def test_so_is_that_of_its_own_families(collector: type[ProcessCollector | PlatformCollector]) -> None:
    """What the library says of the process and of Python."""
    found = list(collector(registry=None).collect())
    assert found
    assert [text_of(each) for each in found] == [by_the_client(each) for each in found]
