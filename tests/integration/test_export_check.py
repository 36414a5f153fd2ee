"""`verify --export`: a file is what its manifest says and what the store has, but for what came since; all else is
found."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from server.base.json_text import json_text
from server.cli.main import main
from storage.model import Group
from storage.statuses import EventStatus
from tests.support.exports import FORMATS, exported, exporting_place, manifest, tidegate
from tests.support.store import filled, numbered, opened, outcome

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a configuration, and a store that has events of every outcome."""
    return exporting_place(tmp_path)


Harm = Callable[[Path], object]


def other_bytes(place: Path) -> None:
    data = (place / "file").read_bytes()
    (place / "file").write_bytes(data.replace(b'"a"', b'"A"', 1))


def shorter(place: Path) -> None:
    (place / "file").write_bytes((place / "file").read_bytes()[:-1])


def rewritten(place: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Another file, with a manifest that fits its bytes."""
    data = b"".join(change((place / "file").read_bytes().splitlines(keepends=True)))
    (place / "file").write_bytes(data)
    said = manifest(place, "file") | {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (place / "file.manifest.json").write_bytes(json_text(said))


def store_without(place: Path) -> None:
    (place / "data").rename(place / "data.old")
    filled(place / "data", [Group([numbered(1, 2)])])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (other_bytes, "another SHA-256"),
        (shorter, "bytes, the manifest says"),
        (lambda place: rewritten(place, lambda lines: lines[:3] + lines[4:]), "the event 4 of the store is not in"),
        (lambda place: rewritten(place, lambda lines: lines[::-1]), "the event 8 stands behind the event 9"),
        (lambda place: rewritten(place, lambda lines: [*lines, *lines[-1:]]), "stands behind"),
        (
            lambda place: rewritten(place, lambda lines: [each.replace(b':"x"', b':"y"') for each in lines]),
            "the event 6 is 'y' of demo; in the store it is 'x' of demo",
        ),
        (
            lambda place: rewritten(
                place, lambda lines: [each.replace(b'"processed"', b'"dropped"') for each in lines]
            ),
            "the event 1 is dropped; in the store it is processed",
        ),
        (store_without, "the export is of another store"),
        (lambda place: (place / "file.manifest.json").unlink(), "cannot be read: No such file"),
        (lambda place: (place / "file.manifest.json").write_text("{}"), "is no manifest of an export"),
    ],
    ids=["bytes", "size", "one left out", "order", "twice", "id", "outcome", "store", "no manifest", "a bad manifest"],
)
def test_verify_finds_what_is_wrong(place: Path, harm: Harm, words: str, capsys: Capture) -> None:
    """A file that is not as it was written, or not as its store is, is said with what is wrong, and exit 1."""
    exported(place, "file", "ndjson")
    capsys.readouterr()
    harm(place)
    assert tidegate(place, "verify", "--export", str(place / "file")) == 1
    assert words in capsys.readouterr().err


def test_verify_knows_that_a_store_goes_on(place: Path) -> None:
    """Outcomes that came since, and events, are no mistakes of the file; nor is a directory in place of the
    configuration."""
    exported(place, "file", "csv")
    with opened(place / "data") as (_, writer):
        writer.write(Group([numbered(10, 3)], [outcome(EventStatus.PROCESSED, [2, 3])]))
    assert main(["verify", "--export", str(place / "file"), "--store", str(place / "data")]) == 0


@pytest.mark.parametrize("shape", FORMATS)
def test_verify_counts_what_was_forgotten_since(place: Path, shape: str, capsys: Capture) -> None:
    """A file from before a forget still has what the events held: it is as it was written, so exit 0, and that is said;
    one that was made afterwards has nothing of them."""
    exported(place, "before", shape)
    assert tidegate(place, "forget", "demo", "a", "--yes") == 0
    exported(place, "after", shape)
    for name, count in (("before", 2), ("after", 0)):
        capsys.readouterr()
        assert tidegate(place, "verify", "--export", str(place / name)) == 0
        out, err = capsys.readouterr()
        assert (json.loads(out)["ok"], json.loads(out)["forgotten"]) == (True, count)
        words = f"{place / name} has what was forgotten after it was made (events: 2): remove it, or make it anew"
        assert err == (f"tidegate: {words}\n" if count else "")
