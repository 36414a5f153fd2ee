"""Modules of a user's own that have the names of Tidegate's."""

import sys
from pathlib import Path

import pytest

from server.flow.names import hidden_modules
from server.flow.processor import ProcessorError, load


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on Python's path."""
    path = tmp_path / "elsewhere"
    path.mkdir()
    monkeypatch.setattr(sys, "path", [str(path), *sys.path])
    return path


def test_each_hidden_file_is_named(tmp_path: Path, elsewhere: Path) -> None:
    """On Python's path and beside the configuration, modules and packages; not Tidegate's own."""
    (elsewhere / "server.py").touch()
    (tmp_path / "storage").mkdir()
    package = tmp_path / "storage" / "__init__.py"
    package.touch()
    lines = hidden_modules(tmp_path)
    assert [line.split(" is hidden by ")[0] for line in lines] == [str(elsewhere / "server.py"), str(package)]
    assert all("rename it" in line for line in lines)


@pytest.mark.usefixtures("elsewhere")
def test_a_folder_is_no_hidden_module(tmp_path: Path) -> None:
    """The store itself may be called so; and other files may have any name."""
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / "data.mdb").touch()
    (tmp_path / "server.toml").touch()
    (tmp_path / "random.py").touch()
    assert hidden_modules(tmp_path) == []


@pytest.mark.parametrize("spec", ["server:handle", "storage:handle", "server.handlers:handle"])
def test_a_processor_cannot_have_these_names(spec: str, tmp_path: Path) -> None:
    """The line says which file to rename, if there is one; Tidegate's own modules are not searched for functions."""
    with pytest.raises(ProcessorError, match=f"'{spec}'.* rename yours$"):
        load(spec, tmp_path)
    path = tmp_path / f"{spec.partition(':')[0].partition('.')[0]}.py"
    path.write_text("def handle(events): pass\n")
    with pytest.raises(ProcessorError, match=f"'{spec}'.* rename {path}$"):
        load(spec, tmp_path)
