"""Families of metrics from plain numbers, in the terms of the Prometheus client."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from server.base.histogram import Histogram


class Buckets(NamedTuple):
    """A histogram as exported: upper bounds with cumulative counts, and the sum."""

    buckets: Sequence[tuple[str, int]]
    sum: float


def in_buckets(found: Histogram) -> Buckets:
    """Return a histogram as exported."""
    total = 0
    buckets = []
    for bound, count in zip((*found.bounds, math.inf), found.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == math.inf else str(float(bound)), total))
    return Buckets(buckets, found.sum)


def histogram(name: str, words: str, found: Buckets) -> Metric:
    return HistogramMetricFamily(name, words, buckets=found.buckets, sum_value=found.sum)


class Families(Collector):
    """Families that are made already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families
