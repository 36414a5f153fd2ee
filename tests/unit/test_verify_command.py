"""What `verify` says to people at its end, whatever it found."""

from pathlib import Path

import pytest

from server.cli import verify
from storage.check.verify import Report

COUNTS = {"demo": {"received": 1, "processed": 1, "dead": 0}}


@pytest.mark.parametrize(
    ("report", "code", "last"),
    [
        (Report(events=1, deliveries=1, sources=COUNTS), 0, "The store is sound: 1 event and 1 delivery were read"),
        (Report(), 0, "The store is sound: 0 events and 0 deliveries were read"),
        (Report(problems=["facts, 7: no"]), 1, "The store is not sound: 1 problem, named above."),
        (
            Report(problems=["no"] * 100, problems_left_out=1234, sources=COUNTS),
            1,
            "The store is not sound: 1,334 problems, the first 100 are named above.",
        ),
    ],
)
def test_a_sentence_says_whether_it_is_sound(
    report: Report,
    code: int,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It stands below the counts; the problems are on stderr, each with its place."""
    monkeypatch.setattr(verify, "verify", lambda path, on_progress: report)
    assert verify.run(None, Path("store"), None, None, shape="table") == code
    said = capfd.readouterr()
    assert said.out.splitlines()[-1].startswith(last)
    assert said.out.startswith("SOURCE") == bool(report.sources)
    assert said.err.count("no") == len(report.problems)
