"""A conversion that is killed before each of its changes to the disk."""

from pathlib import Path

from tests.support.format_1 import migrate_killed_anywhere


def test_migrate_killed_anywhere_ends_right(tmp_path: Path) -> None:
    """Whenever it is killed the store is wholly old or wholly new, and run again it ends with the same."""
    rounds = migrate_killed_anywhere(tmp_path)
    assert [each for each in rounds if not each["right"]] == []
    kinds = {each["about"].split()[0] for each in rounds[:-1]}
    assert kinds >= {"commit", "os.link", "os.rename", "os.remove", "os.rmdir"}
    assert [each["was_old"] for each in rounds] == sorted([each["was_old"] for each in rounds], reverse=True)
    assert [each["about"] for each in rounds if each["was_old"]][-1] == "os.rename data.mdb"
