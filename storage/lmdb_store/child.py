"""Running a module of the store in a child process: with this interpreter, and with the code that runs here."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def command(module: str, path: Path) -> list[str]:
    """Return the arguments that run `module` on the store in the directory `path`."""
    return [sys.executable, "-P", "-m", module, str(path.absolute())]


def environment() -> Mapping[str, str]:
    """Return the environment in which it finds this code."""
    roots = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, roots))}
