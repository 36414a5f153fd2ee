"""Disks that are full, have no room for a name, or take no more writes: under load, until there is room again."""

import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from threading import Thread

from storage.check.verify import verify
from tests.support.client import item
from tests.support.file_systems import (
    BTRFS,
    EXT4,
    FEW_INODES,
    TMPFS,
    XFS,
    FileSystem,
    NotHere,
    ballast,
    leave,
    mount_again,
    mounted,
    stop_writes,
    use_up,
    use_up_names,
)
from tests.support.ledger import pending, read_books
from tests.support.load import SECTIONS, SOURCES, Acknowledged, Load
from tests.support.server import ROOT, Child, Children
from tests.support.waiting import eventually
from tests.torture.fault import Fault, Impossible, Round
from tests.torture.filling import Filling
from tests.torture.judge import judged

LEFT_BYTES = 24 * 2**20
"""Of a disk, for the ballast and for what is sent."""
BALLASTS_BYTES = (12 * 2**20, 5 * 2**20)
"""One after the other: the second finds room in that of the first."""
FULL = {"storage_full"}
SHORT_DRAIN = "[limits]\ndrain_timeout_seconds = 2\n"
"""While nothing can be written a drain waits for outcomes as long as it may."""
MAP_BYTES, LARGER_MAP_BYTES = 12 * 2**20, 20 * 2**20
FILE_BYTES = 10 * 2**20


def _on(
    kind: FileSystem, scenario: Callable[[Child, Path, Random], list[Filling]], seed: int, directory: Path
) -> Round:
    """Do it to a server whose store is on such a file system."""
    with _disk(kind, directory) as disk, Children(directory) as children:
        child = children(f'{SHORT_DRAIN}[storage]\npath = "{disk}/store"\nfree_bytes_min = 1\n{SECTIONS}')
        child.store = disk / "store"
        return _judged(child, scenario(child, disk, Random(seed)))


def _little_by_little(seed: int, directory: Path) -> Round:
    """On a btrfs no write has room of its own, and LMDB stores into its lock file: that is StoreFull, not SIGBUS."""
    with _disk(BTRFS, directory) as disk:
        command = [sys.executable, "-m", "tests.torture.little_by_little", str(disk)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done
        refused, events = map(int, done.stdout.split())
        assert refused, "the disk was not full"
        found = verify(disk / "store")
        return Round(events, events - found.events, problems=tuple(found.problems))


@contextmanager
def _disk(kind: FileSystem, directory: Path) -> Iterator[Path]:
    try:
        with mounted(kind, directory) as disk:
            yield disk
    except NotHere as error:
        raise Impossible(str(error)) from error


def _judged(child: Child, fillings: Iterable[Filling]) -> Round:
    """Let a running server come to rest, and judge it."""
    all_of = list(fillings)
    eventually(lambda: all(pending(child, name) == 0 for name in SOURCES))
    known: list[Acknowledged] = [each for filling in all_of for each in filling.acknowledged]
    books = read_books(child, unanswered=[each for filling in all_of for each in filling.unanswered])
    assert child.stop() == 0
    assert not child.lines_of("the server has failed")
    return judged(child, known, books)


def _full(child: Child, disk: Path, random: Random) -> list[Filling]:
    """Fill the disk by what is sent; whatever is done while it is full, room alone brings the server back."""
    child.start()
    leave(disk, LEFT_BYTES)
    fillings = []
    for size in BALLASTS_BYTES:
        weight = ballast(disk, size)
        fillings.append(_filled(child, random))
        random.choice((_nothing, _killed, _stopped))(child, weight)
        weight.unlink(missing_ok=True)
        (disk / "filler").unlink(missing_ok=True)
        _recovers(child)
    return fillings


def _filled(child: Child, random: Random) -> Filling:
    filling = Filling(child, random.randrange(2**32)).run()
    assert filling.refusals == FULL, filling.refusals
    eventually(lambda: reasons(child) == ["storage_full"])
    _reads(child, filling)
    return filling


def reasons(child: Child) -> list[str]:
    return [each["reason"] for each in child.request("GET", "/readyz").json.get("reasons", [])]


def _reads(child: Child, filling: Filling) -> None:
    """What is in the store can be looked up while nothing can be written."""
    first = filling.acknowledged[0]
    found = child.admin(f"/events/{first.source}/{first.ids[0]}")
    assert found.status == 200, (found, len(filling.acknowledged))
    assert child.cli("event", first.source, first.ids[0]).returncode == 0
    assert child.metrics()["tidegate_store_used_bytes"] > 0


def _map_full(seed: int, directory: Path) -> Round:
    """Fill the map to its reserve, twice: what was taken is worked off all the same; a larger map goes on."""
    with Children(directory) as children:
        child = children(f"[storage]\nfree_bytes_min = 1\nmap_size_bytes = {MAP_BYTES}\n" + SECTIONS)
        child.start()
        random = Random(seed)
        fillings = [_filled(child, random)]
        eventually(lambda: all(pending(child, name) == 0 for name in SOURCES))
        random.choice((child.kill, child.stop))()
        child.start()
        assert reasons(child) == ["storage_full"]
        child.stop()
        child.write(f"[storage]\nfree_bytes_min = 1\nmap_size_bytes = {LARGER_MAP_BYTES}\n" + SECTIONS)
        child.start()
        return _judged(child, [*fillings, _filled(child, random)])


def _file_full(seed: int, directory: Path) -> Round:
    """Fill the file to the limit of the process, as `ulimit -f` and a quota set it, and raise that."""
    with Children(directory) as children:
        child = children(SECTIONS)
        child.start()
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (FILE_BYTES, resource.RLIM_INFINITY))
        filling = _filled(child, Random(seed))
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        _recovers(child)
        return _judged(child, [filling])


def _no_names(child: Child, disk: Path, random: Random) -> list[Filling]:
    """No other file can be made: all goes on, killed and started again too; only a new store cannot be made."""
    child.start()
    names = use_up_names(disk)
    load = Load(child, random.randrange(2**32), random.randint(1, 60), child.kill_now, [])
    load.run()
    child.kill()
    use_up_names(disk)
    child.start()
    assert child.post("worked", item("no name is left")).status == 200
    assert not reasons(child)
    child.stop()
    _makes_no_store(child, disk)
    for name in names[: random.randint(0, len(names))]:
        name.unlink()
    child.start()
    return [Filling(child, 0, load.acknowledged, unanswered=load.unanswered)]


def _makes_no_store(child: Child, disk: Path) -> None:
    """A start that finds no store and no room for one says so in a line."""
    config = child.config.read_text()
    child.config.write_text(config.replace(str(child.store), str(disk / "another")))
    use_up_names(disk)
    code, words = child.start_that_fails()
    assert (code, len(words.splitlines())) == (1, 1), words
    child.config.write_text(config)


def _no_writes(child: Child, disk: Path, random: Random) -> list[Filling]:
    """The kernel takes no more writes, as after an error of the device; mounted anew, all is there and goes on."""
    child.start()
    kind = EXT4
    load = Load(child, random.randrange(2**32), random.randint(1, 60), partial(stop_writes, disk), [])
    thread = Thread(target=load.run)
    thread.start()
    eventually(lambda: reasons(child))
    assert reasons(child) in (["storage_failed"], ["storage_full"]), reasons(child)
    child.kill()
    thread.join()
    mount_again(kind, disk)
    child.start()
    return [Filling(child, 0, load.acknowledged, unanswered=load.unanswered)]


def _recovers(child: Child) -> None:
    eventually(lambda: reasons(child) == [])
    eventually(lambda: child.post("archive", item("once more")).status == 200)


def _nothing(child: Child, weight: Path) -> None:
    """It goes on being full for a while."""
    use_up(weight.parent)
    for at in range(20):
        assert child.post("worked", item(f"refused-{at}")).json["code"] == "storage_full"


def _killed(child: Child, weight: Path) -> None:
    """Killed while it is full, and started while it is."""
    child.kill()
    use_up(weight.parent)
    _starts_or_says_why(child, weight)


def _stopped(child: Child, weight: Path) -> None:
    """Told to stop while it is full: what cannot be written by its deadline is in the journal, or still pending."""
    assert child.stop() == 0
    use_up(weight.parent)
    _starts_or_says_why(child, weight)


def _starts_or_says_why(child: Child, weight: Path) -> None:
    """On a full disk a start serves what is there, or ends with one line; with room it starts."""
    child.start_if_it_can()
    if child.port:
        return
    said = [*child.errors, *(line["error"] for line in child.lines if line["level"] == "error")]
    assert (child.wait(), len(said)) == (1, 1), said
    assert "full" in said[0] or "space" in said[0], said
    child.errors.clear()
    child.lines.clear()
    weight.unlink()
    (weight.parent / "filler").unlink(missing_ok=True)
    child.start()


FAULTS = (
    Fault("a full tmpfs", partial(_on, TMPFS, _full), long=12, short=0),
    Fault("a full ext4", partial(_on, EXT4, _full), long=12, short=0),
    Fault("a full xfs", partial(_on, XFS, _full), long=8, short=0, takes_apt=True),
    Fault("a full btrfs", partial(_on, BTRFS, _full), long=4, short=0, takes_apt=True),
    Fault("a btrfs filled little by little", _little_by_little, long=20, takes_apt=True),
    Fault("an ext4 with no name left", partial(_on, FEW_INODES, _no_names), long=20, short=0),
    Fault("an ext4 that takes no more writes", partial(_on, EXT4, _no_writes), long=20, short=0),
    Fault("a full map", _map_full, long=12, short=0),
    Fault("a file at its limit", _file_full, long=12, short=0),
)
