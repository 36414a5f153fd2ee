"""The memory that the kernel allows this process: the limits of its control group, and of all groups above that.

Version 2 is one tree of groups; of version 1 the tree of the memory controller counts. A host may have both.
"""

from collections.abc import Iterator
from pathlib import Path

from storage.lmdb_store.file_system import Mount, mounts

_LIMIT_FILES = {"cgroup2": "memory.max", "cgroup": "memory.limit_in_bytes"}


def memory_limits(root: Path = Path("/")) -> list[int]:
    """Return all limits on this process, in bytes; none where there are none. `root`: of the host's files."""
    own = _own_groups(root / "proc/self/cgroup")
    found: list[int] = []
    for mount in mounts(root / "proc/self/mountinfo"):
        if mount.type == "cgroup2" or (mount.type == "cgroup" and "memory" in mount.options.split(",")):
            for group in _groups(mount, own.get(mount.type, "/")):
                found += _limit(root / group.relative_to("/") / _LIMIT_FILES[mount.type])
    return found


def _own_groups(file: Path) -> dict[str, str]:
    """Return the path of this process's group in each tree, by the type that its mount has."""
    try:
        lines = [line.split(":", 2) for line in file.read_text(errors="surrogateescape").splitlines()]
    except OSError:
        return {}
    return {
        "cgroup" if controllers else "cgroup2": path
        for _, controllers, path in lines
        if not controllers or "memory" in controllers.split(",")
    }


def _groups(mount: Mount, own: str) -> Iterator[Path]:
    """Yield the directories of the group and of those above it, as far as they are mounted here."""
    top, group = Path(mount.at), Path(own)
    below = group.relative_to(mount.root) if group.is_relative_to(mount.root) else Path()
    if ".." in below.parts:  # the group is not below the one at which this namespace begins
        below = Path()
    yield from (top / each for each in (below, *below.parents))


def _limit(file: Path) -> list[int]:
    try:
        return [int(file.read_text())]
    except (OSError, ValueError):  # no such file, or "max"
        return []
