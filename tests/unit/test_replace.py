"""A configuration file is replaced as a whole, keeps what it is beside its content, or is left alone."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from server.config.load import ConfigError
from server.config.replace import FileChanged, locked
from tests.support.waiting import HANG_SECONDS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tidegate.toml"
    path.write_bytes(b"old")
    return path


def left_in(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_mode_owner_and_lists_stay(file: Path, mode: int) -> None:
    """The new file has the mode, the owner and the extended attributes of the old one, and its name."""
    file.chmod(mode)
    if os.geteuid() == 0:
        os.chown(file, 12345, 54321)
    try:
        os.setxattr(file, "user.kept", b"yes")
        attributes = os.listxattr(file)
    except OSError:
        attributes = []  # this file system has none
    before = file.stat()
    with locked(file) as found:
        assert found.content == b"old"
        found.replace(b"new")
    after = file.stat()
    assert file.read_bytes() == b"new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino
    assert os.listxattr(file) == attributes
    assert left_in(file.parent) == ["tidegate.toml"]


def test_what_a_link_leads_to(file: Path, tmp_path: Path) -> None:
    """A link stays a link; the file that it leads to is replaced where that is."""
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "current.toml"
    link.symlink_to("../tidegate.toml")
    with locked(link) as found:
        found.replace(b"new")
    assert link.is_symlink()
    assert file.read_bytes() == b"new"
    assert left_in(link.parent) == ["current.toml"]


def _saved_by_an_editor(file: Path) -> None:
    file.with_name("other").write_bytes(b"new!")
    file.with_name("other").rename(file)


def _written_over(file: Path) -> None:
    file.write_bytes(b"more")


@pytest.mark.parametrize("change", [_saved_by_an_editor, _written_over, Path.unlink])
def test_what_somebody_saved_meanwhile_stays(file: Path, change: Callable[[Path], None]) -> None:
    """A file that is another one than was read is not replaced, and nothing is left beside it."""
    with locked(file) as found:
        change(file)
        before = [(each.name, each.read_bytes()) for each in file.parent.iterdir()]
        with pytest.raises(FileChanged):
            found.replace(b"mine")
    assert [(each.name, each.read_bytes()) for each in file.parent.iterdir()] == before


@pytest.mark.parametrize("call", ["fsync", "replace", "fchown", "fchmod"])
def test_a_call_that_fails_changes_nothing(file: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails on the way, the old file is there as it was, and no other."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if call == "fchown":
        if os.geteuid() != 0:
            pytest.skip("nobody but root owns files of others")
        os.chown(file, 12345, 54321)
    with locked(file) as found:
        monkeypatch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space"):
            found.replace(b"new")
        monkeypatch.undo()
    assert file.read_bytes() == b"old"
    assert left_in(file.parent) == ["tidegate.toml"]


def test_a_file_that_may_not_be_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write-protected file stays, although its directory would let it be replaced."""
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may write anything
    with locked(file) as found, pytest.raises(PermissionError, match="write-protected"):
        found.replace(b"new")
    assert file.read_bytes() == b"old"


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody but root makes files of others")
def test_an_owner_that_cannot_be_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may not give the new file to the owner of the old one is told so, and the old one stays."""

    def forbidden(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    os.chown(file, 12345, 54321)
    monkeypatch.setattr(os, "fchown", forbidden)
    with locked(file) as found, pytest.raises(PermissionError, match="another owner"):
        found.replace(b"new")
    assert file.read_bytes() == b"old"
    assert left_in(file.parent) == ["tidegate.toml"]


def test_one_waits_for_the_other(file: Path) -> None:
    """Who waits for the lock then reads the new file, and not the one that it opened."""
    read: list[bytes] = []
    begun = threading.Event()

    def second() -> None:
        begun.set()
        with locked(file) as found:
            read.append(found.content)
            found.replace(found.content + b", second")

    thread = threading.Thread(target=second)
    with locked(file) as found:
        thread.start()
        assert begun.wait(HANG_SECONDS)
        found.replace(b"first")
        assert read == []
    thread.join(HANG_SECONDS)
    assert read == [b"first"]
    assert file.read_bytes() == b"first, second"


def test_what_is_no_file(tmp_path: Path) -> None:
    """A directory, a pipe, a dead link and nothing at all are mistakes that name the path; a pipe is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    for name in (".", "pipe", "link", "none"):
        with pytest.raises(ConfigError, match=str(tmp_path)), locked(tmp_path / name):
            raise AssertionError
