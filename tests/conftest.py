"""What all tests share: Hypothesis runs the same examples every time, and is not judged by the clock; a test that fails
says what should be true; servers.
"""

import inspect
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import config as server_config
from tests.support.server import Children

settings.register_profile("tidegate", derandomize=True, deadline=None)
settings.load_profile("tidegate")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--front-end",
        choices=["fast", "complete"],
        default="fast",
        help="which front end takes deliveries: the fast lane, or the complete one alone",
    )


def pytest_configure(config: pytest.Config) -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:  # in the background of a shell; children would inherit it
            signal.signal(number, signal.SIG_DFL)
    server_config.fast_lane = config.getoption("--front-end") == "fast"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Print the docstring of a test that fails."""
    report = yield
    truth = inspect.getdoc(getattr(item, "obj", None))
    if report.failed and truth:
        report.sections.append(("What should be true", truth))
    return report


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    """Makes servers as child processes; ends them with the test."""
    with Children(tmp_path) as made:
        yield made
