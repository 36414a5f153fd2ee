"""What the tests of exports share: a place whose store has events of every outcome, and what was exported there."""

import csv
import hashlib
import io
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import zstandard

from server.base.json_text import json_text
from server.cli.main import main
from storage.model import Append, Group
from storage.statuses import EventStatus
from tests.support.config import source
from tests.support.store import AT_MS, delivery, filled, numbered, outcome, singles

needs_pyarrow = pytest.mark.skipif(find_spec("pyarrow") is None, reason="pyarrow is not installed")

FORMATS = ["ndjson", "ndjson.zst", "csv", pytest.param("parquet", marks=needs_pyarrow)]

BODY = json_text([{"n": at, "text": "ä\n," + "x" * at} for at in range(4)])


def exporting_place(tmp_path: Path) -> Path:
    """Return a directory with a configuration, and a store that has events of every outcome."""
    (tmp_path / "tidegate.toml").write_text(source("demo") + source("other"))
    groups = [
        Group([Append(delivery(1, ["a", "b", "=a()", None], body=BODY), 4, EventStatus.DROPPED)]),
        Group([Append(delivery(5, ["o"], source_id="other", received_at_ms=AT_MS + 5000), 1, EventStatus.DROPPED)]),
        Group([Append(singles(6, ["x", "a"]), 2, EventStatus.DEFERRED), numbered(8, 2, body=b'[{"v":1},{"v":2}]')]),
        Group([], [outcome(EventStatus.PROCESSED, [1], details={1: b'{"result":{"ok":[1]}}'})]),
        Group([], [outcome(EventStatus.DUPLICATE, [7], originals=[1]), outcome(EventStatus.DROPPED, [4])]),
        Group([], [outcome(EventStatus.DEAD, [5], source_id="other", details={5: b'{"error":"no"}'})]),
    ]
    filled(tmp_path / "data", groups)
    return tmp_path


def tidegate(place: Path, *arguments: str) -> int:
    name, *rest = arguments
    return main([name, "--config", str(place / "tidegate.toml"), *rest])


def exported(place: Path, name: str, shape: str, *more: str) -> list[dict[str, Any]]:
    """The rows of an export, read by another program's reader."""
    file = place / name
    assert tidegate(place, "export", str(file), "--format", shape, *more) == 0
    return read(file, shape)


def read(file: Path, shape: str) -> list[dict[str, Any]]:
    if shape == "parquet":
        import pyarrow.parquet  # noqa: PLC0415 - where it is installed

        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(file).to_pylist()
        return rows
    csv.field_size_limit(2**31 - 1)  # a payload may be longer than the usual 128 KiB
    data = file.read_bytes()
    if shape == "csv":
        return list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    if shape == "ndjson.zst":
        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    return [json.loads(line) for line in data.splitlines()]


def manifest(place: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / f"{name}.manifest.json").read_bytes())
    return found


def written(file: Path, shape: str, rows: list[dict[str, Any]]) -> None:
    """Another file in place of an export, made of such rows as `read` returns by another program's writer."""
    if shape == "parquet":
        import pyarrow.parquet  # noqa: PLC0415 - where it is installed

        table = pyarrow.Table.from_pylist(rows, schema=pyarrow.parquet.read_schema(file))
        pyarrow.parquet.write_table(table, file)
    elif shape == "csv":
        text = io.StringIO()
        table = csv.DictWriter(text, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
        file.write_bytes(text.getvalue().encode())
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        file.write_bytes(zstandard.ZstdCompressor().compress(lines) if shape == "ndjson.zst" else lines)


def fitted(file: Path, **other: object) -> None:
    """Let the manifest of an export say what size and SHA-256 the file has now; and this."""
    beside, data = file.with_name(f"{file.name}.manifest.json"), file.read_bytes()
    said = json.loads(beside.read_bytes())
    beside.write_bytes(json_text(said | {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} | other))
