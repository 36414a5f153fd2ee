"""The store that a server of format 1 wrote, and what the commands of that version said of it."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import zstandard

from tests.support.server import ROOT
from tests.support.waiting import HANG_SECONDS

FIXTURE = ROOT / "tests" / "data" / "format-1"


def old_store(directory: Path) -> Path:
    """Put its configuration into this directory, and the store itself below it; return where."""
    with tarfile.open(fileobj=io.BytesIO(_unpacked("store.tar.zst"))) as tar:
        tar.extractall(directory, filter="data")
    return directory / "data"


def old_answers() -> list[Any]:
    """Arguments of a command, its exit code, and what it wrote to stdout and stderr; `verify` is the last."""
    found: list[Any] = json.loads(_unpacked("answers.json.zst"))
    return found


def migrate_killed_anywhere(directory: Path) -> list[dict[str, Any]]:
    """Convert it again and again below this directory, killed before each change; return what `migrate_killed` says."""
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            str(ROOT / "tests/support/migrate_killed.py"),
            str(old_store(directory)),
            str(directory),
        ],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT)},
        timeout=HANG_SECONDS,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _unpacked(name: str) -> bytes:
    return zstandard.ZstdDecompressor().decompress((FIXTURE / name).read_bytes(), max_output_size=2**28)
