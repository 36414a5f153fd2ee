"""The tests of the tests: each promise's test fails on a server with one line wrong.

A mutant is a copy of `server` and `storage` with that line replaced; it starts and serves, and the test of the promise,
run against it, must fail with the words that belong to the promise.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.crash import test_drain, test_memory_bounds, test_storage_failures, test_suspects
from tests.integration import test_limits_flow, test_processing, test_reload
from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import pending
from tests.support.server import ROOT, Children
from tests.support.waiting import eventually
from tests.torture.kills import kills

RESTART = test_processing.test_a_restart_remembers_processed_ids


@dataclass(frozen=True)
class Mutant:
    """A fault, and the promise that it breaks."""

    name: str
    file: str
    line: str
    fault: str
    test: Callable[[Children], object]
    words: str
    """In what the failing test says."""


EARLY_ANSWER = (
    "server/http/admitted.py",
    "gate.acknowledger.append(state, self._admission, self._committed)",
    "gate.acknowledger.append(state, self._admission, lambda _: None); "
    'self._answer(Answer(200, intake.answer_body(source, self._admission, "early")))',
)
EARLY_ANSWERS = (
    "server/http/gate.py",
    "self.acknowledger.append(state, Admission(deliveries, deliveries.count), committed)",
    "self.acknowledger.append(state, Admission(deliveries, deliveries.count), lambda _: None); "
    'reply.answer(plain, intake.answer_bodies(source, ["early"] * len(plain)))',
)
EARLY_BATCH = (
    "server/flow/acknowledger.py",
    "if await self._journaling.run(partial(self._journal.append, batch.appends)):",
    "if True:",
)
FORGOTTEN_JOURNAL = ("storage/write/writer.py", "appends = journaled(store, self.next_number)", "appends = []")
EAGER_REWIND = (
    "server/flow/acknowledger.py",
    "if self._committer.is_settled:",
    "if True:",
)
FORGETFUL_INDEX = (
    "server/runtime/app.py",
    "await self.indexing.run(self.index.rebuild, chunks, horizon_ms)",
    "chunks.close()",
)

MUTANTS = [
    Mutant("200 before commit", *EARLY_ANSWER, test_storage_failures.test_no_answer_without_its_commit, "200 == 503"),
    Mutant("200 before commit, killed", *EARLY_ANSWER, kills, "acknowledged, and not in the store"),
    Mutant("200 before commit, several together, killed", *EARLY_ANSWERS, kills, "and not in the store"),
    Mutant("200 before the journal, killed", *EARLY_BATCH, kills, "acknowledged, and not in the store"),
    Mutant("journal not put into the store, killed", *FORGOTTEN_JOURNAL, kills, "neither data.mdb nor the journal has"),
    Mutant("journal rewound too early, killed", *EAGER_REWIND, kills, "came between is missing|not in the store"),
    Mutant(
        "outcome before archive",
        "storage/write/transaction.py",
        "for key, value in self._results:",
        "for key, value in ():",
        test_processing.test_an_outcome_comes_with_its_archive,
        "results, key",
    ),
    Mutant(
        "index not rebuilt at start",
        *FORGETFUL_INDEX,
        test_processing.test_a_restart_remembers_processed_ids,
        "second call",
    ),
    Mutant("index not rebuilt at start, killed", *FORGETFUL_INDEX, kills, "processed twice|called again"),
    Mutant(
        "tokens not charged",
        "server/intake/rate_limit.py",
        "self._full_at = full_at + admitted * self._cost",
        "self._full_at = full_at",
        test_limits_flow.test_a_burst_is_given_once,
        r"\(3, 0, 0\) == \(1, 0, 2\)",
    ),
    Mutant(
        "id let go before its outcome is on disk",
        "server/flow/outcome_writer.py",
        "self._hand_over(change, received_at_ms, on_disk if held else _nothing)",
        "self._release(known, {}); "
        "self._hand_over(change, received_at_ms, lambda: self._index.add(known, originals, change.store_ms))",
        test_processing.test_an_id_is_held_until_its_outcome,
        "second call",
    ),
    Mutant(
        "SIGTERM loses what is in hand",
        "server/runtime/signals.py",
        "token.run_sync_soon(drain)",
        "os._exit(0)",
        test_drain.test_a_call_in_hand_is_finished,
        "pending",
    ),
    Mutant(
        "events are parked without bound",
        "server/flow/consumer.py",
        "return is_full or self._results_wait",
        "return self._results_wait",
        test_memory_bounds.test_duplicates_that_wait_for_the_first_are_bounded,
        "nothing waits on disk",
    ),
    Mutant(
        "bodies in memory without bound",
        "server/flow/queue.py",
        "if self._budget.held_by(source_id) and not self._budget.has_room(source_id):",
        "if False:",
        test_memory_bounds.test_bytes_behind_a_hanging_processor_are_bounded,
        "nothing waits on disk",
    ),
    Mutant(
        "results that wait without bound",
        "server/flow/consumer.py",
        "return self._outcomes.waiting_bytes >= WAITING_RESULT_BYTES_MAX",
        "return False",
        test_memory_bounds.test_results_that_wait_for_a_commit_are_bounded,
        "results of 60 kB were asked for",
    ),
    Mutant(
        "a drain counts against who is in hand",
        "server/runtime/signals.py",
        "ending()",
        "pass",
        test_suspects.test_ends_from_outside_count_nothing,
        "events were with a processor",
    ),
    Mutant(
        "a reload forgets the sources",
        "server/runtime/reload.py",
        "self._engine.configure(config.sources, functions)",
        "pass",
        test_reload.test_a_removed_source_is_closed_not_forgotten,
        "200.* == .*401",
    ),
]


def make(mutant: Mutant, directory: Path) -> Path:
    """The code with the fault in it; the line must be there exactly once."""
    for package in ("server", "storage"):
        shutil.copytree(ROOT / package, directory / package)  # what is compiled too: files keep their times
    path = directory / mutant.file
    text = path.read_text()
    assert text.count(mutant.line) == 1, f"{mutant.file} no longer holds this line once: {mutant.line}"
    path.write_text(text.replace(mutant.line, mutant.fault))
    return directory


def check_it_serves(children: Children) -> None:
    """Otherwise each promise would fail, and prove nothing."""
    child = children(source("worked", processor="processors:plain"))
    child.start()
    assert child.post("worked", item("a")).status == 200
    eventually(lambda: pending(child, "worked") == 0)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_promises_test_sees_its_fault(mutant: Mutant, tmp_path: Path) -> None:
    """The promise's test sees the fault."""
    root = make(mutant, tmp_path / "code")
    with Children(tmp_path, root) as children:
        check_it_serves(children)
        with pytest.raises(AssertionError, match=mutant.words):
            mutant.test(children)


def test_a_copy_without_a_fault_passes(tmp_path: Path) -> None:
    """The copy itself breaks nothing: unchanged, it keeps the promises."""
    line = "class Server(Parts):"
    unchanged = Mutant(
        "none", "server/runtime/app.py", line, line, test_processing.test_a_restart_remembers_processed_ids, ""
    )
    with Children(tmp_path, make(unchanged, tmp_path / "code")) as children:
        check_it_serves(children)
        unchanged.test(children)
        child = children(source("worked"))
        child.start()
        assert str(tmp_path) in Path(f"/proc/{child.pid}/environ").read_text()
