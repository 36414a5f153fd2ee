"""A disk that becomes full, by us or by others: deliveries are refused before a write finds no room, all else goes on,
and it comes back by itself."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import check_identity, pending, read_books, statuses, totals
from tests.support.server import Child, Children
from tests.support.waiting import eventually

MIB = 2**20
DISK_BYTES = 128 * MIB
PAUSE_SECONDS = 0.05
"""Between two events of a sender, so that there are not many to be looked up."""
SECTIONS = source("archive") + source("worked", processor="processors:plain", processor_attempts_max=1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system; the test is skipped where none can be mounted."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("takes root, and a kernel that lets it mount a tmpfs")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def storage(directory: Path, **keys: int) -> str:
    lines = [f"{key} = {value}\n" for key, value in keys.items()]
    return f'[storage]\npath = "{directory / "data"}"\n{"".join(lines)}'


def shortage(child: Child) -> str:
    """What readiness says of a full store, "" if it is not full."""
    found = child.request("GET", "/readyz").json["reasons"]
    return next((each["message"] for each in found if each["reason"] == "storage_full"), "")


def leave_free(directory: Path, size: int) -> None:
    """Fill the disk up to this, as somebody else would."""
    disk = os.statvfs(directory)
    with (directory / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, disk.f_bavail * disk.f_frsize - size)


class Senders:
    """Sends event after event, until told to stop; an id that was refused is sent again."""

    def __init__(self, child: Child, source_id: str) -> None:
        self._child, self._source = child, source_id
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.acknowledged: list[str] = []
        self.codes: set[str] = set()

    def __enter__(self) -> "Senders":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _send(self) -> None:
        with self._child.session() as session:
            while not self._stopped.wait(PAUSE_SECONDS):
                event_id = f"{self._source}-{len(self.acknowledged)}"
                answer = session.post(self._source, item(event_id))
                if answer.status == 200:
                    self.acknowledged.append(event_id)
                else:
                    self.codes.add(answer.json["code"])


def test_a_disk_that_others_fill(children: Children, small_disk: Path) -> None:
    """Somebody fills and empties the disk while events come: refused in time, nothing lost, back by itself."""
    child = children(storage(small_disk) + SECTIONS)
    child.start()
    child.post("worked", item("dying", do="fail", times=1))
    eventually(lambda: statuses(child, "worked", "dying") == ["dead"])
    with Senders(child, "archive") as archive, Senders(child, "worked") as worked:
        eventually(lambda: archive.acknowledged and worked.acknowledged)
        leave_free(small_disk, 4 * MIB)
        child.wait_for_line("the store refuses deliveries")
        assert "its disk has" in shortage(child)
        assert "6.4 MiB are kept (storage.free_bytes_min)" in shortage(child)
        eventually(lambda: archive.codes == worked.codes == {"storage_full"})
        eventually(lambda: pending(child, "worked") == 0)
        assert child.cli("requeue", "worked", "dying").returncode == 0
        eventually(lambda: statuses(child, "worked", "dying") == ["processed"])
        before = len(archive.acknowledged), len(worked.acknowledged)
        (small_disk / "filler").unlink()
        child.wait_for_line("the store takes deliveries again")
        eventually(lambda: len(archive.acknowledged) > before[0] and len(worked.acknowledged) > before[1])
    eventually(lambda: pending(child, "worked") == pending(child, "archive") == 0)
    assert not shortage(child)
    processed = read_books(child).processed()
    assert processed == dict.fromkeys(
        [("worked", "dying")]
        + [("archive", event_id) for event_id in archive.acknowledged]
        + [("worked", event_id) for event_id in worked.acknowledged],
        1,
    )
    check_identity(child)


def test_a_disk_that_the_store_fills(children: Children, small_disk: Path) -> None:
    """What it writes itself counts at once: little more than a commit goes beyond what is to stay free."""
    child = children(storage(small_disk, free_bytes_min=116 * MIB) + SECTIONS)
    child.start()
    taken = 0
    while (answer := child.post("worked", item(f"id-{taken}", text=os.urandom(100_000).hex()))).status == 200:
        taken += 1
    assert (answer.json["code"], answer.headers["retry-after"]) == ("storage_full", "5")
    eventually(lambda: pending(child, "worked") == 0)
    disk = os.statvfs(small_disk)
    assert disk.f_bavail * disk.f_frsize > 114 * MIB
    assert len(read_books(child).processed()) == taken > 10
    assert child.stop() == 0


def test_retention_is_the_way_out(children: Children, small_disk: Path) -> None:
    """A store that is full because nothing could leave goes on by itself as soon as something can."""
    settings = storage(small_disk, free_bytes_min=116 * MIB) + "[retention]\narchive_hours = 0.0001\n"
    child = children(settings + source("archive", paused=True))
    child.start()
    taken = 0
    while child.post("archive", item(f"id-{taken}", text=os.urandom(100_000).hex())).status == 200:
        taken += 1
    assert shortage(child)
    assert pending(child, "archive") == taken > 10
    child.write(settings + source("archive"))
    child.reload()
    child.wait_for_line("the store takes deliveries again")
    assert child.post("archive", item("after")).status == 200
    eventually(lambda: pending(child, "archive") == 0)
    found = totals(child)["archive"]
    assert (found["received"], found["processed"]) == (taken + 1, taken + 1)
    assert found["expired"] > 10
    check_identity(child)
