"""The tests of power cuts, tested: what is recorded is all that was done, and a missing flush is found."""

from pathlib import Path

import pytest

from tests.support.shim.build import NoCompiler
from tests.support.shim.disk import Disk, Everything
from tests.support.shim.trace import MARK, read_records
from tests.torture.power import look_at, order_of, place
from tests.torture.traces import Recorded, making

pytestmark = pytest.mark.xdist_group("power")
MISSING = {
    "of the journal": [("B", "journal"), ("S", "journal")],
    "of the data": [("B", "data.mdb"), ("S", "data.mdb")],
    "of the meta page": [("E", "data.mdb")],
    "of the names": [("B", "data"), ("S", "data")],
    "of what is above them": [("B", "server-0"), ("S", "server-0")],
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    try:
        return making(0, tmp_path_factory.mktemp("recorded"))
    except NoCompiler as error:
        pytest.skip(str(error))


def test_the_records_are_all_that_happened(recorded: Recorded) -> None:
    """What the records add up to are the files themselves, byte by byte: no write escapes the shim."""
    disk = Disk(recorded.root, lambda path: path.startswith("data"))
    for each in read_records(recorded.trace):
        if each.kind != MARK:
            disk.take(each)
    found, data = disk.image(Everything()), recorded.root / "data"
    assert {Path(path).name for path in found.names} == {"data", *(path.name for path in data.iterdir())}
    for path in data.iterdir():
        if path.name != "lock.mdb":  # written through a map
            assert found.read(f"data/{path.name}") == path.read_bytes()


def test_every_missing_flush_is_found(recorded: Recorded) -> None:
    """Without any one kind of flush images lack what was acknowledged; with all of them none does.

    A product without it would leave the same records but these.
    """
    with place() as work:
        orders = [
            order_of(recorded, work, kind="nothing", seed=0, count=15, without=without)
            for without in [(), *MISSING.values()]
        ]
        whole, *found = look_at(orders)
    assert whole.good
    assert whole.acknowledged
    assert [words for words, each in zip(MISSING, found, strict=True) if each.good] == []
