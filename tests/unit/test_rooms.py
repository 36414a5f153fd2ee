"""The architecture as a test: rooms import downward only, and each library has one home."""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).parents[2]

ROOMS = (
    "server/cli",
    "server/runtime",
    "server/http/listener.py",
    "server/http/fast",
    "server/http/admin",
    "server/http/asgi",
    "server/http",
    "server/observe",
    "server/flow",
    "server/config",
    "server/intake",
    "server/base",
    "storage/migrate",
    "storage/backup",
    "storage/check",
    "storage/write",
    "storage/forget",
    "storage/retain",
    "storage/index",
    "storage/read",
    "storage/dedup",
    "storage/journal",
    "storage/in_hand",
    "storage/refusals",
    "storage/lmdb_store",
    "storage/codec",
    "storage",
)
"""From the top down. A file belongs to the first of these that it lies in, and imports from its own room and those
below."""

HOMES: Mapping[str, tuple[str, ...]] = {
    "click": ("server/cli/",),
    "lmdb": ("storage/lmdb_store/", "storage/read/", "storage/write/", "storage/migrate/format_1.py"),
    "hypercorn": ("server/http/asgi/hypercorn.py",),
    "h11": ("server/http/asgi/hypercorn.py",),
    "quart": ("server/http/asgi/routes.py", "server/http/admin/"),
    "quart_trio": ("server/http/asgi/routes.py", "server/http/admin/"),
    "prometheus_client": tuple(f"server/observe/{name}.py" for name in ("metrics", "exposition", "families")),
    "structlog": ("server/base/log.py",),
    "tomlkit": ("server/config/edit.py",),
    "pyarrow": ("server/cli/export_parquet.py",),
    "zstandard": ("storage/", "server/intake/decode.py", "server/cli/export_formats.py"),
}
"""Where each library may be imported: files, or folders with all below them."""

ONLY: Mapping[str, frozenset[str]] = {
    "storage/": frozenset({"storage", "lmdb", "numpy", "orjson", "zstandard"}),
    "server/intake/": frozenset(
        {
            "server.intake",
            "server.base.source",
            "server.base.refusal",
            "storage.deliveries",
            "storage.delivery_id",
            "storage.model",
            "storage.frozen",
            "storage.statuses",
            "orjson",
            "zstandard",
        }
    ),
    "server/base/": frozenset({"server.base", "storage.frozen", "orjson", "structlog", "trio"}),
}
"""All that a folder may import beside the standard library."""

NEVER: Mapping[str, tuple[str, ...]] = {
    "server/http/": ("server.flow",),
    "server/http/fast/": ("server.http.asgi", "server.http.admin"),
    "server/": ("tests", "bench"),
}
"""What a folder may not import though it lies below it, or beside it."""

BRIDGES: Mapping[str, str] = dict.fromkeys(("server/http/gate.py", "server/http/admitted.py"), "server.flow")
"""The files of their folder that may: the gate, and what it admits, are where HTTP ends and the flow begins."""


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


def room_of(name: str) -> int | None:
    """The place in `ROOMS` of what has this dotted name; None for what is in no room, as the version."""
    return next((at for at, room in enumerate(ROOMS) if within(name, dotted(room))), None)


def dotted(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def complaints(source: str, path: PurePath) -> list[str]:
    """What this file imports against the rules above."""
    where = path.as_posix()
    room = room_of(dotted(where))
    found = set()
    for name in imports(source, path):
        library = name.partition(".")[0]
        above = room_of(name)
        if room is not None and above is not None and above < room:
            found.add(f"{where} imports {name}, which is above it")
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


def test_imports_point_down_the_rooms() -> None:
    """No file of the product imports from a room above its own, or a library outside its home."""
    files = product_files()
    assert len(files) > 10
    assert [each for path in files for each in complaints(path.read_text(), path.relative_to(ROOT))] == []


def test_every_file_has_a_room() -> None:
    """Each file of the product lies in a room, but for the package of the server itself."""
    names = {module_name(path) for path in product_files()}
    assert {name for name in names if room_of(name) is None} == {"server", "server.__main__"}


def test_imports_make_no_circles() -> None:
    """No module of the product is imported, through however many others, by what it imports itself."""
    modules = {module_name(path): path for path in product_files()}
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
        ("server/runtime/app.py", "import lmdb"),
        ("server/http/gate.py", "from hypercorn.config import Config"),
        ("server/http/gate.py", "from server.runtime.app import run"),
        ("server/http/gate.py", "from server.http.fast.event_loop import FastLane"),
        ("server/http/fast/connection.py", "from server.http.asgi import routes"),
        ("server/http/asgi/routes.py", "from server.flow.queue import SourceQueue"),
        ("server/http/asgi/routes.py", "from ...flow import queue"),
        ("server/http/asgi/routes.py", "from server import flow"),
        ("server/flow/queue.py", "import server.http.gate"),
        ("server/flow/queue.py", "from quart import Quart"),
        ("server/intake/decode.py", "import trio"),
        ("server/intake/decode.py", "from server.config import load"),
        ("server/intake/decode.py", "from storage.write.writer import Writer"),
        ("server/base/log.py", "from server.config.settings import ServerConfig"),
        ("storage/write/writer.py", "def f():\n    import trio"),
        ("storage/write/writer.py", "from server.base.source import Source"),
        ("storage/write/writer.py", "from prometheus_client import Counter"),
        ("storage/journal/journal.py", "from storage.write.writer import Writer"),
        ("storage/codec/records.py", "from storage.read import reader"),
        ("storage/model.py", "from storage.codec.records import key_of"),
    ],
)
def test_a_breach_is_seen(where: str, line: str) -> None:
    """Each kind of breach is found, so that silence means something."""
    assert complaints(line, PurePath(where))
    assert complaints("import json\nfrom dataclasses import dataclass", PurePath(where)) == []
