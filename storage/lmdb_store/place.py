"""Where a store may be: what `tidegate check` says about a directory, and why a store is not opened there."""

import os
import stat
from pathlib import Path

from storage.errors import StoreError

FILES = ("data.mdb", "lock.mdb", "writer.lock")


def unusable(path: Path) -> str | None:
    """Return why this process cannot keep a store in the directory `path`, and what to do; None if it can.

    Creates nothing. What it could make private but is not is no reason.
    """
    place = next(each for each in (path, *path.parents) if os.path.lexists(each))
    if not place.is_dir():
        return f"{place} is not a directory"
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return f"{place} is on a file system that is mounted read-only"
    if place == path:
        return _not_ours(path) or next(filter(None, map(_unwritable, _files(path))), None)
    if not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        return f"{place} cannot be written to by this user: make {path} yourself, and give it to this user (chown)"
    return None


def check_files(path: Path) -> None:
    """Raise StoreError, which names the file, if one of a store's is something else; the data may be a link to it."""
    words = next(filter(None, (_not_a_file(path / name) for name in FILES)), None)
    if words is not None:
        raise StoreError(words)


def _not_ours(path: Path) -> str | None:
    try:
        path.chmod(stat.S_IMODE(path.stat().st_mode))  # changes nothing, and is allowed to whom it belongs
    except OSError:
        pass
    else:
        return None
    if os.access(path, os.W_OK | os.X_OK, effective_ids=True):
        return (
            f"{path} belongs to another user, so it cannot be made private: set storage.path to a directory below it, "
            f"such as {path / 'store'}"
        )
    return f"{path} belongs to another user: run this as that user, or give it to this one (chown -R)"


def _files(path: Path) -> list[Path]:
    """Return the files to look at; none in a directory that its owner has yet to open for himself."""
    return [path / name for name in FILES] if os.access(path, os.X_OK, effective_ids=True) else []


def _unwritable(file: Path) -> str | None:
    words = _not_a_file(file)
    if words or not os.path.lexists(file) or os.access(file, os.R_OK | os.W_OK, effective_ids=True):
        return words
    return f"{file} cannot be written to by this user: give the directory to this user (chown -R)"


def _not_a_file(file: Path) -> str | None:
    try:
        found = file.stat() if file.name == "data.mdb" else file.lstat()
    except FileNotFoundError:
        return None
    except PermissionError:
        return f"{file} cannot be reached by this user: run this as the user that the store belongs to, or as root"
    except OSError as error:
        return f"{file} cannot be used: {error.strerror}"
    return None if stat.S_ISREG(found.st_mode) else f"{file} is not a regular file"
