"""Modules of a user's own that have the names of Tidegate's packages.

A process has one module of a name, and Tidegate's are there first: a processor that imports a `storage` of its own gets
Tidegate's. Nothing can be done about that but to say which file to rename.
"""

import os
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

OWN = ("server", "storage")


def hidden_modules(directory: Path) -> list[str]:
    """Return a line for each file that no processor can import, since Tidegate has a module of its name.

    Looks where imports of processors look: on Python's path, and in `directory` (the configuration's). A folder that is
    no package, as one that holds a store, is none.
    """
    return [
        f"{path} is hidden by Tidegate's own module {name}; rename it if a processor imports it"
        for name in OWN
        for path in _others(name, directory)
    ]


def why_taken(module_name: str, directory: Path) -> str | None:
    """Return why a module of this name cannot be a processor's; None if it can."""
    name = module_name.partition(".")[0]
    if name not in OWN:
        return None
    return f"Tidegate has a module {name} itself; rename {next(_others(name, directory), 'yours')}"


def _others(name: str, directory: Path) -> Iterator[str]:
    """Yield where else Python finds a module of this name, in the order of its path."""
    own = os.path.realpath(sys.modules[name].__file__ or "")
    for entry in dict.fromkeys([*sys.path, str(directory)]):
        spec = PathFinder.find_spec(name, [entry])
        if spec is not None and spec.origin is not None and os.path.realpath(spec.origin) != own:
            yield spec.origin
