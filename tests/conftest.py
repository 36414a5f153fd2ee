"""What all tests share: Hypothesis runs the same examples every time, and is not judged by the clock; servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.child import Children

settings.register_profile("tidegate", derandomize=True, deadline=None)
settings.load_profile("tidegate")


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    """Makes servers as child processes; ends them with the test."""
    with Children(tmp_path) as made:
        yield made
