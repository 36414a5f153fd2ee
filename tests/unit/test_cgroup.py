"""The memory limits of control groups: of the process's own and of all above it, in either version."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from server.config import capacity
from server.config.capacity import read_machine
from server.config.cgroup import memory_limits

V2 = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)
HYBRID = V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
NONE_V1 = 9223372036854771712


def host(root: Path, mounts: str, cgroup: str, limits: Mapping[str, object]) -> Path:
    """A host's files: what is mounted, the groups of the process, and the limits by their files."""
    files = {"proc/self/mountinfo": mounts, "proc/self/cgroup": cgroup}
    for name, content in {**files, **{f"sys/fs/cgroup/{name}": value for name, value in limits.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n" if name not in files else str(content))
    return root


@pytest.mark.parametrize(
    ("mounts", "cgroup", "limits", "least"),
    [
        pytest.param(
            V2,
            "0::/system.slice/tidegate.service\n",
            {"system.slice/tidegate.service/memory.max": 300, "system.slice/memory.max": "max"},
            300,
            id="MemoryMax of a service",
        ),
        pytest.param(
            V2,
            "0::/system.slice/tidegate.service\n",
            {"system.slice/tidegate.service/memory.max": "max", "system.slice/memory.max": 200},
            200,
            id="of the slice above it",
        ),
        pytest.param(
            V2, "0::/own\n", {"own/memory.max": 300, "memory.max": 100, "other/memory.max": 5}, 100, id="of the root"
        ),
        pytest.param(V2, "0::/\n", {"memory.max": 300}, 300, id="in a namespace of groups"),
        pytest.param(V2, "0::/../../other\n", {"memory.max": 300}, 300, id="outside of the namespace"),
        pytest.param(V2, "0::/own\n", {"own/memory.max": "max"}, None, id="none"),
        pytest.param(
            V2.replace(" / /sys", " /docker/abc /sys"),
            "0::/docker/abc/in\n",
            {"in/memory.max": 9},
            9,
            id="part of a tree",
        ),
        pytest.param(
            V2.replace(" / /sys", " /docker/abc /sys"), "0::/elsewhere\n", {"memory.max": 9}, 9, id="another part"
        ),
        pytest.param(
            V1,
            "4:memory:/a/b\n1:cpu:/c\n",
            {"memory/a/b/memory.limit_in_bytes": NONE_V1, "memory/a/memory.limit_in_bytes": 70},
            70,
            id="version 1",
        ),
        pytest.param(
            V1.replace("rw,memory", "rw,memory,cpuacct"),
            "4:cpuacct,memory:/a\n",
            {"memory/a/memory.limit_in_bytes": 70, "cpu/a/memory.limit_in_bytes": 5},
            70,
            id="version 1, controllers together",
        ),
        pytest.param(
            HYBRID,
            "4:memory:/a\n1:name=systemd:/s\n0::/s\n",
            {"memory/a/memory.limit_in_bytes": 70, "unified/s/memory.max": 60},
            60,
            id="both versions",
        ),
        pytest.param("", "0::/own\n", {"own/memory.max": 3}, None, id="nothing mounted"),
    ],
)
def test_the_least_limit_counts(
    tmp_path: Path, mounts: str, cgroup: str, limits: Mapping[str, object], least: int | None
) -> None:
    """The least limit of the process's own group and of all above it, in each tree, and of no other group."""
    assert min(memory_limits(host(tmp_path, mounts, cgroup, limits)), default=None) == least


def test_what_cannot_be_read_limits_nothing(tmp_path: Path) -> None:
    """Without the kernel's files, and where one is not a file, there is no limit and no error."""
    assert memory_limits(tmp_path) == []
    (host(tmp_path, V2, "0::/own\n", {}) / "sys/fs/cgroup/own/memory.max").mkdir(parents=True)
    assert memory_limits(tmp_path) == []


def test_the_machine_has_what_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The capacity plan counts with the least limit, and with the machine's memory where that is less."""
    monkeypatch.setattr(capacity, "memory_limits", list)
    physical = read_machine(tmp_path).memory_bytes
    monkeypatch.setattr(capacity, "memory_limits", lambda: [2**20, 2**21])
    assert read_machine(tmp_path).memory_bytes == 2**20
    monkeypatch.setattr(capacity, "memory_limits", lambda: [2**62])
    assert read_machine(tmp_path).memory_bytes == physical
