"""Building the shim, and the environment of a process that is to be under it."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
EVERY_ONE = 2**31 - 1


class NoCompiler(Exception):
    """There is no C compiler here."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Which calls fail, and how: see SHIM_FAULTS in `shim.c`."""

    kind: str
    name: str
    first: int
    last: int
    error: int

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {self.first} {self.last} {self.error}"


HALF = 0


def built() -> Path:
    """Return the shim, compiled at most once for each of its sources. Raises NoCompiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise NoCompiler("no C compiler (gcc), which the shim under the server takes")
    name = f"tidegate-shim-{os.geteuid()}-{hashlib.blake2b(SOURCE.read_bytes()).hexdigest()[:16]}.so"
    library = Path(tempfile.gettempdir()) / name
    if not library.exists():
        new = library.with_suffix(f".{os.getpid()}")
        options = ["-O2", "-Wall", "-Wno-format-truncation", "-shared", "-fPIC", "-o", str(new)]
        subprocess.run([compiler, *options, str(SOURCE), "-ldl", "-lpthread"], check=True)
        new.rename(library)
    return library


def environment(root: Path, trace: Path, *faults: Fault) -> Mapping[str, str]:
    """Return what puts a process under the shim: what it does below `root` is appended to `trace`."""
    return {
        "LD_PRELOAD": str(built()),
        "SHIM_ROOT": str(root.resolve()),
        "SHIM_TRACE": str(trace),
        "SHIM_FAULTS": ";".join(map(str, faults)),
    }
