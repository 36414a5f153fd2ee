"""The manifest of an export, as `verify` reads it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from server.cli.exit_codes import ERROR
from server.cli.export_file import manifest_path
from server.cli.export_formats import FORMATS
from server.cli.failure import CommandFailed


def read_manifest(file: Path, manifest: Path | None) -> Mapping[str, Any]:
    """Return the manifest of this export. Raises CommandFailed."""
    path = manifest or manifest_path(file)
    try:
        found = orjson.loads(path.read_bytes())
    except OSError as error:
        raise CommandFailed(ERROR, f"the manifest {path} cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError:
        raise CommandFailed(ERROR, f"the manifest {path} is not JSON") from None
    if not isinstance(found, dict) or found.get("version") != 1 or found.get("format") not in FORMATS:
        raise CommandFailed(ERROR, f"{path} is no manifest of an export that this version knows")
    return found
