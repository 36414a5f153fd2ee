"""The manifest of an export, as `verify` reads it."""

from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import orjson

from server.cli.events import described
from server.cli.exit_codes import ERROR
from server.cli.export_file import manifest_path
from server.cli.export_formats import FORMATS
from server.cli.failure import CommandFailed

MANIFEST_VERSION = 1

NUMBER_MAX = 2**63 - 1
"""Of an event."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "version": (int,),
    "format": (str,),
    "store": (str,),
    "asked": (dict,),
    "after": (int,),
    "before": (int,),
    "count": (int,),
    "first_number": (int, NoneType),
    "last_number": (int, NoneType),
    "bytes": (int,),
    "sha256": (str,),
    "totals": (dict,),
}
"""Of what is read."""

_ASKED = ("source", "since", "until", "outcome", "event_type", "id_prefix", "event_id", "provider_id")
"""What may have been asked for, in a text; so are all of `where`."""


def read_manifest(file: Path, manifest: Path | None) -> Mapping[str, Any]:
    """Return the manifest of this export. Raises CommandFailed."""
    path = manifest or manifest_path(file)
    try:
        found = orjson.loads(path.read_bytes())
    except OSError as error:
        raise CommandFailed(ERROR, f"the manifest {path} cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError:
        raise CommandFailed(ERROR, f"the manifest {path} is not JSON") from None
    if not isinstance(found, dict) or not _is_manifest(found):
        raise CommandFailed(ERROR, f"{path} is no manifest of an export that this version knows")
    return found


def _is_manifest(found: Mapping[str, Any]) -> bool:
    if not all(isinstance(found.get(name, ...), types) for name, types in _TYPES.items()):
        return False
    is_known = found["version"] == MANIFEST_VERSION and found["format"] in FORMATS
    has_numbers = all(0 <= found[name] <= NUMBER_MAX for name in ("after", "before"))
    return is_known and has_numbers and _is_asked(found["asked"])


def _is_asked(asked: Mapping[str, Any]) -> bool:
    """Return whether it describes events."""
    others = dict(asked)
    where = others.pop("where", [])
    texts = [*others.values(), *where] if isinstance(where, list) else [where]
    if not others.keys() <= set(_ASKED) or not all(isinstance(each, str) for each in texts):
        return False
    try:
        described(**asked)
    except CommandFailed:
        return False
    return True
