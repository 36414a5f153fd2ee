"""What all tests share: Hypothesis runs the same examples every time, and is not judged by the clock; servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import front_end
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
    front_end.fast_lane = config.getoption("--front-end") == "fast"


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    """Makes servers as child processes; ends them with the test."""
    with Children(tmp_path) as made:
        yield made
