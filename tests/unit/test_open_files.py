"""The limit of open files."""

import os
import resource

import pytest
from structlog.testing import capture_logs

from server.runtime.open_files import raise_open_files


@pytest.mark.parametrize("error", [ValueError("not allowed to raise maximum limit"), PermissionError(1, "no")])
def test_a_refused_limit_is_a_warning(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A container may refuse even what is allowed, such as a hard limit over `fs.nr_open`: the server goes on."""

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(resource, "setrlimit", refuse)
    monkeypatch.setattr(os, "register_at_fork", refuse)
    with capture_logs() as lines:
        raise_open_files()
    [line] = lines
    assert (line["log_level"], line["limit"]) == ("warning", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
