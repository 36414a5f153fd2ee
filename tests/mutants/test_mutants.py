"""The tests of the tests: each promise's test fails on a server with one line wrong.

A mutant is a copy of `server` and `storage` with that line replaced; it starts and serves, and the test of the promise,
run against it, must fail with the words that belong to the promise.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.crash.test_drain import check_batch_in_hand
from tests.crash.test_kill_loop import check_kill_loop
from tests.crash.test_memory import (
    check_bytes_behind_a_hanging_processor,
    check_outcomes_that_wait_for_a_commit,
    check_waiting_twins,
)
from tests.crash.test_storage_failures import check_no_answer_without_its_commit
from tests.integration.test_limits_flow import check_tokens_are_charged
from tests.integration.test_processing import (
    check_duplicate_after_restart,
    check_id_is_held_until_its_outcome_is_on_disk,
    check_outcome_with_its_archive,
)
from tests.integration.test_reload import check_removed_source
from tests.support.ledger import pending
from tests.support.server import ROOT, Children, item, source
from tests.support.waiting import eventually


def check_few_kills(children: Children) -> None:
    """A kill loop of a few rounds."""
    check_kill_loop(children, 4)


@dataclass(frozen=True)
class Mutant:
    """A fault, and the promise that it breaks."""

    name: str
    file: str
    line: str
    fault: str
    check: Callable[[Children], None]
    words: str
    """In what the failing test says."""


EARLY_ANSWER = (
    "server/http/gate.py",
    "gate.acknowledger.append(state, self._admission, self._committed)",
    "gate.acknowledger.append(state, self._admission, lambda _: None); "
    'answer(Answer(200, intake.answer(source, self._admission, "early")))',
)
EARLY_ANSWERS = (
    "server/http/gate.py",
    "self.acknowledger.append(state, Admission(deliveries, deliveries.count), committed)",
    "self.acknowledger.append(state, Admission(deliveries, deliveries.count), lambda _: None); "
    'reply.answer(taken, intake.answers(source, ["early"] * len(taken)))',
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
    "await worker.run(self.index.rebuild, chunks, now_ms)",
    "chunks.close()",
)

MUTANTS = [
    Mutant("200 before commit", *EARLY_ANSWER, check_no_answer_without_its_commit, "200 == 503"),
    Mutant("200 before commit, killed", *EARLY_ANSWER, check_few_kills, "acknowledged, and not in the store"),
    Mutant("200 before commit, several together, killed", *EARLY_ANSWERS, check_few_kills, "and not in the store"),
    Mutant("200 before the journal, killed", *EARLY_BATCH, check_few_kills, "acknowledged, and not in the store"),
    Mutant("journal not put into the store, killed", *FORGOTTEN_JOURNAL, check_few_kills, "and not in the store"),
    Mutant(
        "journal rewound too early, killed", *EAGER_REWIND, check_few_kills, "came between is missing|not in the store"
    ),
    Mutant(
        "outcome before archive",
        "storage/write/transaction.py",
        "for key, value in self._results:",
        "for key, value in ():",
        check_outcome_with_its_archive,
        "results, key",
    ),
    Mutant("index not rebuilt at start", *FORGETFUL_INDEX, check_duplicate_after_restart, "second call"),
    Mutant("index not rebuilt at start, killed", *FORGETFUL_INDEX, check_few_kills, "processed twice|called again"),
    Mutant(
        "tokens not charged",
        "server/intake/rate_limit.py",
        "self._full_at = full_at + admitted * self._cost",
        "self._full_at = full_at",
        check_tokens_are_charged,
        r"\(3, 0, 0\) == \(1, 0, 2\)",
    ),
    Mutant(
        "id let go before its outcome is on disk",
        "server/flow/outcome_writer.py",
        "self._hand_over(change, received_at_ms, on_disk if held else _nothing)",
        "self._release(digests, {}); "
        "self._hand_over(change, received_at_ms, lambda: self._index.add(digests, numbers, change.at_ms))",
        check_id_is_held_until_its_outcome_is_on_disk,
        "second call",
    ),
    Mutant(
        "SIGTERM loses what is in hand",
        "server/runtime/signals.py",
        "token.run_sync_soon(drain)",
        "os._exit(0)",
        check_batch_in_hand,
        "PENDING",
    ),
    Mutant(
        "events are parked without bound",
        "server/flow/consumer.py",
        "self.room <= 0 or",
        "",
        check_waiting_twins,
        "memory grew",
    ),
    Mutant(
        "bodies in memory without bound",
        "server/flow/queue.py",
        "if self._budget.held_by(source_id) and not self._budget.has_room(source_id):",
        "if False:",
        check_bytes_behind_a_hanging_processor,
        "memory grew",
    ),
    Mutant(
        "results that wait without bound",
        "server/flow/consumer.py",
        "return self._outcomes.waiting_bytes >= WAITING_RESULT_BYTES_MAX",
        "return False",
        check_outcomes_that_wait_for_a_commit,
        "memory grew",
    ),
    Mutant(
        "a reload forgets the sources",
        "server/runtime/reload.py",
        "self._engine.configure(config.sources, functions)",
        "pass",
        check_removed_source,
        "200.* == .*401",
    ),
]


def make(mutant: Mutant, directory: Path) -> Path:
    """The code with the fault in it; the line must be there exactly once."""
    for package in ("server", "storage"):
        shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
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
def test_mutant(mutant: Mutant, tmp_path: Path) -> None:
    """The promise's test sees the fault."""
    root = make(mutant, tmp_path / "code")
    with Children(tmp_path, root) as children:
        check_it_serves(children)
        with pytest.raises(AssertionError, match=mutant.words):
            mutant.check(children)


def test_copy_without_a_fault(tmp_path: Path) -> None:
    """The copy itself breaks nothing: unchanged, it keeps the promises."""
    unchanged = Mutant(
        "none", "server/runtime/app.py", "class Server:", "class Server:", check_duplicate_after_restart, ""
    )
    with Children(tmp_path, make(unchanged, tmp_path / "code")) as children:
        check_it_serves(children)
        unchanged.check(children)
        child = children(source("worked"))
        child.start()
        assert str(tmp_path) in Path(f"/proc/{child.pid}/environ").read_text()
