"""Signals that end a server: the first drains, another one ends, and the same one at once is the first."""

import os
import signal
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from server.runtime import signals
from server.runtime.signals import drain_on_signals

NEVER_SECONDS = 1e7
"""The deadline of a drain that these tests do not wait for."""


class _Ended(Exception):
    """In place of the end of the process."""


@pytest.fixture
def end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what would end the process raise _Ended."""

    def exit_(code: int) -> None:
        raise _Ended(code)

    monkeypatch.setattr(os, "_exit", exit_)


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Stop the clock of the handler, and return what sets it forward."""
    now = [1000.0]

    def pass_(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep))
    return pass_


@pytest.mark.usefixtures("end")
@pytest.mark.parametrize(
    ("second", "after_seconds", "ends"),
    [
        (signal.SIGTERM, 0.0, False),
        (signal.SIGTERM, signals.SAME_SECONDS, True),
        (signal.SIGINT, 0.0, True),
    ],
)
async def test_the_same_signal_at_once_is_one(
    pass_time: Callable[[float], None], second: signal.Signals, after_seconds: float, ends: bool
) -> None:
    """GNU timeout sends its signal twice, to the server and to its group: that drains, and ends no drain."""
    said: list[str] = []
    with drain_on_signals(lambda: None, lambda: None, NEVER_SECONDS, lambda: "nothing", said.append):
        signal.raise_signal(signal.SIGTERM)
        pass_time(after_seconds)
        if ends:
            with pytest.raises(_Ended):
                signal.raise_signal(second)
        else:
            signal.raise_signal(second)
    assert said == (["a second signal ends the drain; left in hand: nothing"] if ends else [])
