"""What somebody is told who may not read the configuration, or may not use the store: as whom to run the command."""

import grp
import os
import pwd
import shlex
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from server.cli.finding import Found
from server.config.load import ConfigError, StorageConfig, absolute, load_section


def advice(found: Found, lines: Iterable[str]) -> str | None:
    """Return what to type, if what these lines complain of is closed to this user; None for any other complaint."""
    if os.geteuid() == 0:  # to whom nothing is closed
        return None
    try:
        place = _closed(absolute(found.path))
    except ConfigError:  # the working directory is gone
        return None
    if place is None or not any(str(place) in line for line in lines):
        return None
    return f"run it as the service's user: {_line(_user_of(place), found)}"


def _closed(config: Path) -> Path | None:
    """Return what this user may not read, or may not enter: the configuration, else the store."""
    if not _may(config, os.R_OK):
        return config
    try:
        store = load_section(config, StorageConfig).path
    except ConfigError:
        return None
    return None if _may(store, os.R_OK | os.W_OK | os.X_OK) else store


def _may(path: Path, mode: int) -> bool:
    """Return whether this user may, or whether it is not there at all."""
    try:
        found = path.stat()
    except PermissionError:
        return False
    except OSError:
        return True
    if not stat.S_ISDIR(found.st_mode):
        mode &= ~os.X_OK  # which says nothing of a file that is in the place of a directory
    return os.access(path, mode, effective_ids=True)


def _user_of(place: Path) -> str:
    """Return the owner of what can be seen of it."""
    for path in (place, *place.parents):
        try:
            return _name(path.stat())
        except OSError:
            continue
    return "root"


def _name(found: os.stat_result) -> str:
    """Return the owner's name; for what is root's and a group's, that of the user that is called as the group."""
    try:
        if found.st_uid == 0 and found.st_gid != 0:
            return pwd.getpwnam(grp.getgrgid(found.st_gid).gr_name).pw_name
        return pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        return "root" if found.st_uid == 0 else f"#{found.st_uid}"


def _line(user: str, found: Found) -> str:
    """Return this command line for `sudo`, which would not pass the environment on."""
    is_module = sys.argv[0].endswith("__main__.py")
    program = [sys.executable, "-m", "server"] if is_module else [sys.argv[0]]
    named = ["--config", str(absolute(found.path))] if found.why else []
    return shlex.join(["sudo", "-u", user, *program, *named, *sys.argv[1:]])
