"""storage/store_time.py: the store's time only rises, and believes no clock that somebody may have set."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.codec.records import decode_time, encode_time
from storage.store_time import (
    BOOT_ID_BYTES,
    REBOOT_MS_MAX,
    UNKNOWN_BOOT,
    HostTime,
    StoreClock,
    StoreTime,
    host_time,
    read_boot_id,
    store_time,
)

ONE, OTHER = b"a" * BOOT_ID_BYTES, b"b" * BOOT_ID_BYTES
NEWEST = StoreTime(1_000_000, HostTime(wall_ms=5_000_000, boot_ms=70_000, boot_id=ONE))
TIMES = st.builds(HostTime, st.integers(0, 2**50), st.integers(0, 2**50), st.sampled_from([ONE, OTHER, UNKNOWN_BOOT]))


def test_the_first_time_is_the_wall_clock() -> None:
    """A new store begins with what the wall clock says."""
    assert store_time(None, NEWEST.host).store_ms == 5_000_000


@pytest.mark.parametrize("wall_ms", [0, 5_000_000, 2**45])
def test_within_one_boot_the_boot_clock_counts(wall_ms: int) -> None:
    """Within one boot of the host it goes on with the time since the boot, wherever the wall clock jumps."""
    assert store_time(NEWEST, HostTime(wall_ms, 70_250, ONE)).store_ms == 1_000_250


@pytest.mark.parametrize(
    ("wall_passed", "passed"), [(-1, 0), (0, 0), (250, 250), (REBOOT_MS_MAX, REBOOT_MS_MAX), (REBOOT_MS_MAX + 1, 0)]
)
@pytest.mark.parametrize("boot_id", [OTHER, UNKNOWN_BOOT])
def test_over_a_reboot_a_day_is_believed(wall_passed: int, passed: int, boot_id: bytes) -> None:
    """Over a reboot the wall clock counts if it moved by 0 to 24 hours; otherwise time is withheld."""
    assert store_time(NEWEST, HostTime(5_000_000 + wall_passed, 3, boot_id)).store_ms == 1_000_000 + passed


def test_two_unknown_boots_are_not_one() -> None:
    """A host that does not tell its boot is judged by the wall clock, as after a reboot."""
    newest = StoreTime(1000, HostTime(5000, 70, UNKNOWN_BOOT))
    assert store_time(newest, HostTime(5001, 900, UNKNOWN_BOOT)).store_ms == 1001


@given(st.lists(TIMES))
def test_the_time_never_goes_back(hosts: list[HostTime]) -> None:
    """Whatever the clocks of the host say, the store's time only rises."""
    newest = None
    for host in hosts:
        now = store_time(newest, host)
        assert newest is None or now.store_ms >= newest.store_ms
        newest = now


def test_the_host_tells_its_boot(tmp_path: Path) -> None:
    """The boot is read where Linux says it; a file that says something else is no boot."""
    (tmp_path / "boot_id").write_text("0123456789abcdef0123456789abcdef\n")
    assert read_boot_id(tmp_path / "boot_id") == bytes.fromhex("0123456789abcdef0123456789abcdef")
    for words in ("", "none", "abcd"):
        (tmp_path / "boot_id").write_text(words)
        assert read_boot_id(tmp_path / "boot_id") == UNKNOWN_BOOT
    assert read_boot_id(tmp_path / "missing") == UNKNOWN_BOOT
    assert host_time(ONE).boot_ms <= host_time(ONE).boot_ms


class Host:
    """Clocks that stand until they are set."""

    def __init__(self, time: HostTime) -> None:
        self.time = time

    def __call__(self) -> HostTime:
        return self.time


def test_a_running_clock_goes_by_the_boot_clock() -> None:
    """Once the store is open the wall clock is of no account, even where the host does not tell its boot."""
    host = Host(HostTime(5_000_250, 3, UNKNOWN_BOOT))
    clock = StoreClock(NEWEST, host)
    assert clock.now_ms() == 1_000_250
    host.time = HostTime(0, 503, UNKNOWN_BOOT)
    assert clock.now() == StoreTime(1_000_750, host.time)


@pytest.mark.parametrize("wall_passed", [-1, REBOOT_MS_MAX + 1])
def test_withheld_time_is_remembered_until_trusted(wall_passed: int) -> None:
    """What was withheld is in each record, over further restarts and reboots; `trust` adds it once, by what the wall
    clock says then."""
    host = Host(HostTime(5_000_000 + wall_passed, 3, OTHER))
    clock = StoreClock(NEWEST, host)
    assert (clock.withholds, clock.now_ms(), clock.now().withheld_ms) == (True, 1_000_000, max(0, wall_passed))
    record = clock.now()
    host.time = HostTime(host.time.wall_ms + 500, 10, ONE)
    clock = StoreClock(record, host)
    host.time = HostTime(5_000_000 + 2 * REBOOT_MS_MAX, 20, ONE)
    passed = 2 * REBOOT_MS_MAX
    assert clock.now_ms() == 1_000_510
    assert clock.trust() == passed - 510
    assert (clock.withholds, clock.now()) == (False, StoreTime(1_000_000 + passed, host.time))
    assert clock.trust() == 0


def test_trust_never_takes_time_back() -> None:
    """A wall clock that lies behind the store's time is believed, and changes nothing but that."""
    clock = StoreClock(NEWEST, Host(HostTime(4_000_000, 3, OTHER)))
    assert clock.trust() == 0
    assert (clock.withholds, clock.now_ms()) == (False, 1_000_000)


def test_a_step_of_the_wall_clock_shows() -> None:
    """How far the wall clock was set beside the time that passed is known, also while no server ran in this boot."""
    host = Host(HostTime(5_000_000 + 700, 70_500, ONE))
    clock = StoreClock(NEWEST, host)
    assert clock.stepped_ms == 200
    host.time = HostTime(5_000_000 - 4000, 71_000, ONE)
    assert clock.stepped_ms == -5000
    clock.trust()
    assert clock.stepped_ms == 0


@given(st.integers(0, 2**62), st.integers(0, 2**62), st.none() | st.integers(-(2**62), 2**62))
def test_a_record_of_time_is_read_back(store_ms: int, wall_ms: int, withheld_from: int | None) -> None:
    """The record in the store says the same again, whether time is withheld or not."""
    time = StoreTime(store_ms, HostTime(wall_ms, 70, ONE), withheld_from)
    assert decode_time(encode_time(time)) == time
