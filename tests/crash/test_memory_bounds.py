"""Everything that could grow without bound, filled several times over: the rest waits on disk, not in memory.

Counted is what the server takes; what that costs in bytes is measured by `bench.growth` and `bench.soak`.
"""

from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import check_identity, pending, shut_gate
from tests.support.server import Child, Children
from tests.support.waiting import eventually

EVENTS_MAX = 500
BATCH = 500
QUEUE = f"[queue]\nevents_max = {EVENTS_MAX}\n"
FILLED = 5
"""Batches, each as large as the bound."""

CALLS = 'tidegate_processor_seconds_count{source="worked"}'
NEVER = ("--waits", "3600")


def fill(child: Child, batches: int, *, prefix: str | None = "id", text: str = "") -> None:
    """Events with ids of their own, or all with one id where there is no prefix."""
    with child.session() as session:
        for batch in range(batches):
            ids = [f"{prefix}-{batch}-{at}" if prefix else "twin" for at in range(BATCH)]
            assert session.post("worked", [item(event_id, text=text) for event_id in ids]).status == 200


def let_work(child: Child) -> None:
    """Give the server time to do what it should not: many answers of it."""
    for _ in range(30):
        child.metrics()


def assert_the_rest_waits_on_disk(child: Child) -> None:
    let_work(child)
    (worked,) = child.admin("/sources").json["sources"]
    assert worked["behind"], "nothing waits on disk: all of it is in memory"


def test_events_that_wait_for_a_retry_are_bounded(children: Children) -> None:
    """As many events as may step aside wait for their retries; the rest waits on disk."""
    child = children(QUEUE + source("worked", processor="processors:always_fails"), launch=NEVER)
    child.start()
    fill(child, FILLED)
    assert_the_rest_waits_on_disk(child)
    assert child.metrics()[CALLS] == 1
    assert pending(child, "worked") == BATCH * FILLED


def test_duplicates_that_wait_for_the_first_are_bounded(children: Children) -> None:
    """As many in-flight duplicates as may step aside wait for the first; the rest waits on disk."""
    child = children(QUEUE + source("worked", processor="processors:always_fails"), launch=NEVER)
    child.start()
    fill(child, FILLED, prefix=None)
    assert_the_rest_waits_on_disk(child)
    assert pending(child, "worked") == BATCH * FILLED


def test_what_a_rate_limit_defers_waits_on_disk(children: Children) -> None:
    """What a rate limit holds back is on disk only."""
    limit = {"rate_limit_events_per_second": 1e-6, "rate_limit_burst_events": 1}
    child = children(QUEUE + source("worked", **limit))
    child.start()
    assert child.post("worked", item("the burst")).status == 200
    fill(child, FILLED)
    assert_the_rest_waits_on_disk(child)
    assert pending(child, "worked") >= BATCH * FILLED


def test_events_behind_a_hanging_processor_are_bounded(children: Children) -> None:
    """Events behind a processor that hangs are on disk, but for `queue.events_max`."""
    child = children(QUEUE + source("worked", processor="processors:silent"))
    child.start()
    with shut_gate(child):
        fill(child, FILLED)
        assert_the_rest_waits_on_disk(child)
    eventually(lambda: pending(child, "worked") == 0)


def test_bytes_behind_a_hanging_processor_are_bounded(children: Children) -> None:
    """Bodies behind a processor that hangs are on disk, but for `queue.bytes_max`."""
    child = children("[queue]\nbytes_max = 1048576\n" + source("worked", processor="processors:silent"))
    child.start()
    with shut_gate(child), child.session() as session:
        for at in range(10):
            assert session.post("worked", item(f"id-{at}", text="x" * 500_000)).status == 200
        assert_the_rest_waits_on_disk(child)
    eventually(lambda: pending(child, "worked") == 0)


def test_results_that_wait_for_a_commit_are_bounded(children: Children) -> None:
    """While nothing can be written, a consumer stops when as many outcomes wait, or as many bytes of results."""
    child = children(
        "[queue]\nevents_max = 2000\n" + source("worked", processor="processors:noisy", processor_batch_events_max=40),
        launch=("--faults", "faults"),
    )
    child.start()
    with shut_gate(child):
        fill(child, 4)
        eventually(lambda: pending(child, "worked") == 4 * BATCH)  # in the store, and not in the journal alone
        (child.directory / "faults").write_text("full")
    eventually(lambda: child.metrics()[CALLS] >= 7)
    let_work(child)
    calls = child.metrics()[CALLS]
    assert calls == 7, "results of 60 kB were asked for when 16 MiB of them waited"
    (child.directory / "faults").unlink()
    eventually(lambda: pending(child, "worked") == 0)
    check_identity(child)


def test_results_of_retries_that_wait_are_bounded(children: Children) -> None:
    """The same for events that stepped aside: while many bytes of results wait, no retry is started."""
    child = children(
        QUEUE + source("worked", processor="processors:noisy_at_last"), launch=("--waits", "1", "--faults", "faults")
    )
    child.start()
    with shut_gate(child):
        fill(child, 1)
        eventually(lambda: child.admin("/receipts/worked/id-0-499").json["attempts"] == 1)
        (child.directory / "faults").write_text("full")
    eventually(lambda: child.metrics()[CALLS] >= 1 + 280)
    let_work(child)
    calls = child.metrics()[CALLS]
    assert calls == 1 + 280  # the batch that failed; single results of 60 kB, until they are 16 MiB
    (child.directory / "faults").unlink()
    eventually(lambda: pending(child, "worked") == 0)
    check_identity(child)
