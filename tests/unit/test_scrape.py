"""What the admin side says, read: samples of Prometheus' format, and answers that are none of a Tidegate."""

from collections.abc import Mapping
from typing import cast

import orjson
import pytest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from server.cli.client import AdminClient, NoAnswer
from server.cli.scrape import ANSWER_SECONDS, samples, scrape

ODD = 'a"b\\c\nd\\n {x="y"} 7'

READY = orjson.dumps({"status": "ready", "reasons": [], "warnings": [{"warning": "clock", "message": "set back"}]})


class Told:
    """An admin side that answers so."""

    def __init__(self, answers: Mapping[str, tuple[int, bytes]]) -> None:
        self.answers = answers
        self.is_closed = False

    def fetch(self, path: str, answer_seconds: float | None = None) -> tuple[int, bytes]:
        assert answer_seconds == (None if path == "/readyz" else ANSWER_SECONDS)
        return self.answers[path]

    def close(self) -> None:
        self.is_closed = True

    @property
    def client(self) -> AdminClient:
        return cast(AdminClient, self)


def test_labels_are_read_as_written() -> None:
    """Quotes, backslashes and line ends in a label come back; what is not wanted is passed over."""

    class Odd(Collector):
        def collect(self) -> list[CounterMetricFamily]:
            wanted = CounterMetricFamily("tidegate_source_refused", "Words.", labels=["source", "code"])
            wanted.add_metric(["orders", ODD], 12.5)
            return [wanted, CounterMetricFamily("other", "Words.", value=1)]

    registry = CollectorRegistry()
    registry.register(Odd())
    found = samples(generate_latest(registry).decode())
    assert found == {"tidegate_source_refused_total": [({"source": "orders", "code": ODD}, 12.5)]}


@pytest.mark.parametrize(
    "text", [b"", b"no JSON", b"7", b"{}", b'{"reasons":7,"warnings":[]}', b'{"reasons":[{}],"warnings":[]}']
)
def test_what_is_no_tidegate_is_no_answer(text: bytes) -> None:
    """Whatever else listens there: it is said, and the connection is closed."""
    told = Told({"/readyz": (200, text)})
    with pytest.raises(NoAnswer, match="not a Tidegate"):
        scrape(told.client)
    assert told.is_closed


@pytest.mark.parametrize(
    ("text", "words"), [(b'{"code":"x","message":"wrong token"}', " wrong token"), (b"<html>", " ")]
)
def test_a_refusal_is_among_the_troubles(text: bytes, words: str) -> None:
    """What readiness says is there all the same, and so is the refusal."""
    found = scrape(Told({"/readyz": (200, READY), "/metrics": (401, text)}).client)
    assert [(each.name, each.message) for each in found.troubles] == [
        ("clock", "set back"),
        ("refused", f"GET /metrics is answered with 401{words}"),
    ]
    assert (found.ready, found.sources) == (True, ())
