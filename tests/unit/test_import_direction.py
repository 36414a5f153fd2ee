"""The architecture as a test: imports point one way, and each library has one home."""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).parents[2]

HOMES: Mapping[str, tuple[str, ...]] = {
    "lmdb": ("storage/",),
    "hypercorn": ("server/http/hypercorn.py",),
    "h11": ("server/http/hypercorn.py",),
    "quart": ("server/http/routes.py", "server/http/admin.py"),
    "quart_trio": ("server/http/routes.py", "server/http/admin.py"),
    "prometheus_client": ("server/metrics.py",),
    "structlog": ("server/log.py",),
    "zstandard": ("storage/", "server/intake/decode.py"),
}
"""Where each library may be imported: files, or folders with all below them."""

ONLY: Mapping[str, frozenset[str]] = {
    "storage/": frozenset({"storage", "lmdb", "numpy", "orjson", "zstandard"}),
    "server/intake/": frozenset(
        {"server.intake", "server.source", "server.refusal", "storage.model", "storage.record", "orjson", "zstandard"}
    ),
}
"""All that a folder may import beside the standard library."""

NEVER: Mapping[str, tuple[str, ...]] = {
    "server/http/": ("server.flow", "server.app", "server.cli"),
    "server/flow/": ("server.http", "server.app", "server.cli"),
    "server/": ("tests", "bench"),
}
"""What a folder may not import: the floors above it, and what is none of its business."""

BRIDGES: Mapping[str, str] = {"server/http/gate.py": "server.flow"}
"""The one file of its folder that may: the gate is where HTTP ends and the flow begins."""


def imports(source: str, path: PurePath) -> Iterator[str]:
    """Dotted names of all that this source imports, wherever in it; relative ones made absolute."""
    package = path.parent.parts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def within(name: str, allowed: str) -> bool:
    return name == allowed or name.startswith(f"{allowed}.")


def complaints(source: str, path: PurePath) -> list[str]:
    """What this file imports against the rules above."""
    where = path.as_posix()
    found = set()
    for name in imports(source, path):
        library = name.partition(".")[0]
        if library in HOMES and not where.startswith(HOMES[library]):
            found.add(f"{where} imports {library}, whose home is {' '.join(HOMES[library])}")
        for folder, allowed in ONLY.items():
            known = any(within(name, each) or within(each, name) for each in allowed)
            if where.startswith(folder) and library not in sys.stdlib_module_names and not known:
                found.add(f"{where} imports {name}")
        for folder, forbidden in NEVER.items():
            bridged = where in BRIDGES and within(name, BRIDGES[where])
            if where.startswith(folder) and not bridged and any(within(name, each) for each in forbidden):
                found.add(f"{where} imports {name}")
    return sorted(found)


def product_files() -> list[Path]:
    return sorted(path for folder in ("server", "storage") for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_imports_point_one_way() -> None:
    """No file of the product imports against the direction, or a library outside its home."""
    files = product_files()
    assert len(files) > 10
    assert [each for path in files for each in complaints(path.read_text(), path.relative_to(ROOT))] == []


def test_imports_make_no_circles() -> None:
    """No module of the product is imported, through however many others, by what it imports itself."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in product_files()
    }
    graph = {
        name: {each for each in imports(path.read_text(), path.relative_to(ROOT)) if each in modules and each != name}
        for name, path in modules.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail, name))
        if name not in done:
            for each in graph[name]:
                visit(each, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("server/app.py", "import lmdb"),
        ("server/http/gate.py", "from hypercorn.config import Config"),
        ("server/http/gate.py", "from server.app import run"),
        ("server/http/routes.py", "from server.flow.queue import SourceQueue"),
        ("server/http/routes.py", "from ..flow import queue"),
        ("server/http/routes.py", "from server import flow"),
        ("server/flow/queue.py", "import server.http.gate"),
        ("server/flow/queue.py", "from quart import Quart"),
        ("server/intake/decode.py", "import trio"),
        ("server/intake/decode.py", "from server.config import load"),
        ("server/intake/decode.py", "from storage.writer import Writer"),
        ("storage/writer.py", "def f():\n    import trio"),
        ("storage/writer.py", "from server.source import Source"),
        ("storage/writer.py", "from prometheus_client import Counter"),
    ],
)
def test_the_test_sees_a_breach(where: str, line: str) -> None:
    """Each kind of breach is found, so that silence means something."""
    assert complaints(line, PurePath(where))
    assert complaints("import json\nfrom dataclasses import dataclass", PurePath(where)) == []
