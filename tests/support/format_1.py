"""The store that a server of format 1 wrote, and what the commands of that version said of it."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import zstandard

from tests.support.server import ROOT

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


def _unpacked(name: str) -> bytes:
    return zstandard.ZstdDecompressor().decompress((FIXTURE / name).read_bytes(), max_output_size=2**28)
