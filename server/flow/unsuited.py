"""What a processor's module may do that does not go with trio: patch the standard library, use asyncio."""

import _thread
import ast
import inspect
import os
import queue
import select
import selectors
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

_PATCHED = (_thread, os, queue, select, selectors, signal, socket, ssl, subprocess, threading, time)
"""The modules that gevent and eventlet patch."""
_AS_THEY_WERE = [(module, vars(module).copy()) for module in _PATCHED]
"""Before any processor's module was imported."""

_NEEDED = (
    (socket, "socket"),
    (socket, "socketpair"),
    (select, "epoll"),
    (select, "poll"),
    (threading, "Thread"),
    (_thread, "start_new_thread"),
)
"""What the server and trio are built upon."""
_ORIGINALS = [(module, name, getattr(module, name)) for module, name in _NEEDED]

ASYNCIO_LIBRARIES = frozenset(
    (
        "aioboto3",
        "aiobotocore",
        "aiohttp",
        "aiokafka",
        "aiomysql",
        "aio_pika",
        "aiopg",
        "aioredis",
        "aiosqlite",
        "asyncpg",
        "motor",
        "nats",
        "uvloop",
    )
)
"""Libraries that work in an event loop of asyncio only, by their top-level names."""


_PATCHERS: dict[str, list[str]] = {}
"""Modules that replaced something, for as long as they are loaded: the next import does not run them again."""


def replaced_by(module_name: str) -> list[str]:
    """Return what this module, imported right now or before, replaced in the standard library; it is there again."""
    if found := _replaced():
        _restore()
        _PATCHERS[module_name] = found
    return _PATCHERS.get(module_name, [])


def _replaced() -> list[str]:
    """Return what is no longer the standard library's own, such as `select.epoll`; a subclass in its place will do."""
    return [f"{module.__name__}.{name}" for module, name, own in _ORIGINALS if not _stands_for(own, module, name)]


def _restore() -> None:
    """Give those modules back what they held, so that the server's threads can say what is wrong, or go on."""
    for module, names in _AS_THEY_WERE:
        vars(module).update(names)


def _stands_for(own: object, module: object, name: str) -> bool:
    found = getattr(module, name, None)
    return found is own or (isinstance(found, type) and isinstance(own, type) and issubclass(found, own))


def asyncio_imports(module_name: str) -> list[str]:
    """Return what this loaded module imports, anywhere in it, of asyncio and libraries that need it; sorted."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module_name]))
    except Exception:  # noqa: BLE001  # foreign: it may have no source, or be no module
        return []
    return sorted({name for name in _imported(tree) if _needs_asyncio(name)})


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inside = [f"{node.module}.{each.name}" for each in node.names]
            yield from [name for name in inside if name.endswith(".asyncio")] or [node.module]


def _needs_asyncio(name: str) -> bool:
    parts = name.split(".")
    return parts[0] in ASYNCIO_LIBRARIES or "asyncio" in parts
