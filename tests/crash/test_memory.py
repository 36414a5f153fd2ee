"""Everything that could grow without bound, filled: memory does not grow with it.

Each is filled to its limit, measured, filled several times more, measured again. A bound that is missing costs some
hundred bytes an event, or the bodies themselves: several times what is allowed here.
"""

from tests.support.ledger import check_identity, pending, shut_gate
from tests.support.server import Child, Children, item, source
from tests.support.waiting import eventually

MIB = 2**20
GROWTH_BYTES_MAX = 4 * MIB
"""For 60 000 events more, where half a MiB was seen: the barest list of them would take twice this."""

WORK_BYTES_MAX = 12 * MIB
"""What parsing and writing large bodies and results takes for a while, and the allocator keeps."""

EVENTS_MAX = 2000
BATCH = 2000
QUEUE = f"[queue]\nevents_max = {EVENTS_MAX}\n"
FILLED, MORE = 10, 30
"""Batches until the first measurement, and after it."""

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


def check_growth(child: Child, **how: object) -> None:
    """Memory does not grow with what comes after the first batches."""
    fill(child, FILLED, **{"prefix": "first", **how})  # type: ignore[arg-type]
    let_work(child)
    before = child.memory_bytes()
    fill(child, MORE, **{"prefix": "more", **how})  # type: ignore[arg-type]
    let_work(child)
    growth = child.memory_bytes() - before
    assert growth < GROWTH_BYTES_MAX, f"memory grew by {growth} bytes"
    assert pending(child, "worked") >= BATCH * (FILLED + MORE)


def test_retries(children: Children) -> None:
    """As many events as may step aside wait for their retries; the rest waits on disk."""
    child = children(QUEUE + source("worked", processor="processors:always_fails"), launch=NEVER)
    child.start()
    check_growth(child)
    assert child.metrics()[CALLS] == EVENTS_MAX / 500


def check_waiting_twins(children: Children) -> None:
    """As many twins as may step aside wait for the first; the rest waits on disk."""
    child = children(QUEUE + source("worked", processor="processors:always_fails"), launch=NEVER)
    child.start()
    check_growth(child, prefix=None)


def test_deferred_backlog(children: Children) -> None:
    """What a rate limit holds back is on disk only."""
    limit = {"rate_limit_events_per_second": 1e-6, "rate_limit_burst_events": 1}
    child = children(QUEUE + source("worked", **limit))
    child.start()
    assert child.post("worked", item("the burst")).status == 200
    check_growth(child, text="x" * 200)


def test_events_behind_a_hanging_processor(children: Children) -> None:
    """Events behind a processor that hangs are on disk, but for `queue.events_max`."""
    child = children(QUEUE + source("worked", processor="processors:silent"))
    child.start()
    with shut_gate(child):
        check_growth(child, text="x" * 200)


def check_bytes_behind_a_hanging_processor(children: Children) -> None:
    """Bodies behind a processor that hangs are on disk, but for `queue.bytes_max`."""
    child = children("[queue]\nbytes_max = 8388608\n" + source("worked", processor="processors:silent"))
    child.start()
    before = child.memory_bytes()
    with shut_gate(child), child.session() as session:
        for at in range(160):
            assert session.post("worked", item(f"id-{at}", text="x" * 500_000)).status == 200
        let_work(child)
        growth = child.memory_bytes() - before
        assert growth < 8 * MIB + WORK_BYTES_MAX, f"memory grew by {growth} bytes"
    eventually(lambda: pending(child, "worked") == 0)


def check_outcomes_that_wait_for_a_commit(children: Children) -> None:
    """While nothing can be written, a consumer stops when as many outcomes wait, or as many bytes of results."""
    child = children(
        QUEUE + source("worked", processor="processors:noisy", processor_batch_events_max=40),
        launch=("--faults", "faults"),
    )
    child.start()
    with shut_gate(child):
        fill(child, 1)
        before = child.memory_bytes()
        (child.directory / "faults").write_text("full")
    eventually(lambda: child.metrics()[CALLS] >= 7)
    let_work(child)
    growth = child.memory_bytes() - before
    assert growth < 16 * MIB + WORK_BYTES_MAX, f"memory grew by {growth} bytes"
    assert child.metrics()[CALLS] == 7  # 40 results of 60 kB each, until they are 16 MiB
    (child.directory / "faults").unlink()
    eventually(lambda: pending(child, "worked") == 0)
    check_identity(child)


def test_results_of_retries_that_wait_for_a_commit(children: Children) -> None:
    """The same for events that stepped aside: while many bytes of results wait, no retry is started."""
    child = children(
        QUEUE + source("worked", processor="processors:noisy_at_last"), launch=("--waits", "1", "--faults", "faults")
    )
    child.start()
    with shut_gate(child):
        fill(child, 1)
        eventually(lambda: child.admin("/receipts/worked/id-0-1999").json["attempts"] == 1)
        before = child.memory_bytes()
        (child.directory / "faults").write_text("full")
    eventually(lambda: child.metrics()[CALLS] >= 4 + 280)
    let_work(child)
    growth = child.memory_bytes() - before
    assert growth < 16 * MIB + WORK_BYTES_MAX, f"memory grew by {growth} bytes"
    assert child.metrics()[CALLS] == 4 + 280  # batches that failed; single results of 60 kB, until they are 16 MiB
    (child.directory / "faults").unlink()
    eventually(lambda: pending(child, "worked") == 0)
    check_identity(child)


def test_waiting_twins(children: Children) -> None:
    """Twins that wait are bounded."""
    check_waiting_twins(children)


def test_bytes_behind_a_hanging_processor(children: Children) -> None:
    """Bodies in memory are bounded."""
    check_bytes_behind_a_hanging_processor(children)


def test_outcomes_that_wait_for_a_commit(children: Children) -> None:
    """Outcomes that wait are bounded."""
    check_outcomes_that_wait_for_a_commit(children)
