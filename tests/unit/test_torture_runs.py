"""How faults are run in rounds: what was shown is kept, goes on after an interruption, and is told in a table."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from server.cli.exit_codes import INTERRUPTED
from tests.torture import __main__ as torture
from tests.torture.fault import Fault, Impossible, Round

Run = Callable[[int, Path], Round]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., int]:
    """Runs one fault, as the only one of the only part, with these arguments."""

    def run_fault(function: Run, *arguments: str, long: int = 3) -> int:
        faults = (Fault("a test's own", function, long=long),)
        with mock.patch.multiple(torture, PARTS=("made",), faults_of=mock.Mock(return_value=faults)):
            return torture.main(["--results", str(tmp_path), *arguments])

    return run_fault


def good(seed: int, directory: Path) -> Round:
    return Round(10)


def loses(seed: int, directory: Path) -> Round:
    return Round(10, lost=int(seed == 1))


def fails(seed: int, directory: Path) -> Round:
    raise AssertionError("not as it should be")


def cannot(seed: int, directory: Path) -> Round:
    raise Impossible("there is no moon")


def test_good_rounds_are_counted_together(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0, and a row of the table with the sums."""
    assert run(good) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "| a test's own | 3 rounds | 30 | 0 | 0 | ok |"


@pytest.mark.parametrize(("function", "row"), [(loses, "30 | 1 | 0 | 1 failed"), (fails, "0 | 0 | 0 | 3 failed")])
def test_one_bad_round_fails_the_run(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], function: Run, row: str
) -> None:
    """Exit 1 if any round lost an event or raised, now and whenever it is asked for; seed and words are kept."""
    assert run(function) == run(good, "--table") == 1
    assert f"| a test's own | 3 rounds | {row} |" in capsys.readouterr().out
    tally = json.loads((tmp_path / "made.json").read_text())["faults"]["a test's own"]
    assert [each["seed"] for each in tally["failures"]] == ([1] if function is loses else [0, 1, 2])
    assert ("not as it should be" in str(tally)) == (function is fails)
    assert run(good, "--fresh") == 0


def test_an_interrupted_run_goes_on(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends the run with the table of what it has shown; the next begins with the round that was not finished."""
    seeds = []

    def interrupted(seed: int, directory: Path) -> Round:
        seeds.append(seed)
        if seeds == [0, 1]:
            raise KeyboardInterrupt
        return Round(10)

    assert run(interrupted) == INTERRUPTED
    assert "| a test's own | 1 rounds, 2 rounds left | 10 |" in capsys.readouterr().out
    assert run(interrupted) == 0
    assert seeds == [0, 1, 1, 2]


@pytest.mark.parametrize("text", ["{bro", "[]", '{"faults": {"a test\'s own": {"moons": 1}}}'])
def test_what_was_kept_is_named_if_unreadable(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """A file that no run has left is a mistake, which names it, and not a traceback."""
    (tmp_path / "made.json").write_text(text)
    with pytest.raises(SystemExit):
        run(good)
    assert "made.json is not as a run has left it" in capsys.readouterr().err


def test_a_second_sigterm_lets_it_clean_up(run: Callable[..., int]) -> None:
    """What a round has made is taken away, though the signal that ends the run comes again meanwhile."""
    made: list[Path] = []

    def ended(seed: int, directory: Path) -> Round:
        made.append(directory)
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            made.append(directory)
        return Round(1)

    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
            run(ended)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(made) == 2
    assert not made[0].exists()


def test_time_that_is_over_ends_it(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """No round begins after the time; that none failed is no failure."""
    assert run(good, "--minutes", "-1") == 0
    assert "| a test's own | – | – | – | – | not run |" in capsys.readouterr().out


def test_what_is_impossible_is_tried_again(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """What this host cannot do is no failure and says why; the next run tries again."""
    assert run(cannot) == 0
    assert "| a test's own | – | – | – | – | there is no moon |" in capsys.readouterr().out
    assert run(good) == 0
    assert "| 3 rounds | 30 |" in capsys.readouterr().out


def test_a_seed_alone_keeps_nothing(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One round again, to look at: 1 if it is bad, and nothing is written."""
    assert [run(loses, "--seed", seed) for seed in "012"] == [0, 1, 0]
    assert "lost=1" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
