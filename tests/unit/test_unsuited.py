"""What does not go with trio is found: a patched standard library, and imports of asyncio and what needs it."""

import linecache
import select
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from server.base.source import Source
from server.flow.processor import load
from server.flow.unsuited import asyncio_imports, replaced_by
from server.runtime.cautions import cautions


class Subclass(socket.socket):
    """As PySocks puts one into the place of the original."""


def test_a_replaced_part_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing or another is named, given back, and remembered of its module; a subclass does the same work."""
    epoll = select.epoll
    monkeypatch.setattr(socket, "socket", Subclass)
    assert replaced_by("first") == []
    monkeypatch.setattr(socket, "socket", dict)
    monkeypatch.delattr(select, "epoll")
    assert replaced_by("second") == ["socket.socket", "select.epoll"]
    assert (select.epoll, socket.socket.__name__) == (epoll, "socket")
    assert [replaced_by("third"), replaced_by("second")] == [[], ["socket.socket", "select.epoll"]]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import asyncio", ["asyncio"]),
        ("import json, aiohttp.client as c", ["aiohttp.client"]),
        ("from asyncio import sleep", ["asyncio"]),
        ("from redis import asyncio, Redis", ["redis.asyncio"]),
        ("import sqlalchemy.ext.asyncio", ["sqlalchemy.ext.asyncio"]),
        ("def later():\n    from asyncpg.pool import Pool\n    import asyncio", ["asyncio", "asyncpg.pool"]),
        ("import trio, httpx, anyio\nfrom . import asyncio", []),
        ("asyncio = 'import asyncio'", []),
    ],
)
def test_imports_of_asyncio_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, expected: list[str]
) -> None:
    """Imports are found wherever they stand in the module, also in a function; a module without a source has none."""
    module = ModuleType("looked_at")
    (tmp_path / "looked_at.py").write_text(f"{source}\n")
    module.__file__ = str(tmp_path / "looked_at.py")
    monkeypatch.setitem(sys.modules, "looked_at", module)
    linecache.checkcache()
    assert asyncio_imports("looked_at") == expected
    assert asyncio_imports("sys") == asyncio_imports("nowhere") == []


async def on_the_loop(events: object) -> None:
    import asyncio  # noqa: F401, PLC0415


def in_a_thread(events: object) -> None:
    pass


def test_async_processors_with_asyncio_are_named() -> None:
    """An async processor whose module imports asyncio is named; a plain one may use it as it likes."""
    sources = {
        name: Source(name, "webhook", (), processor=f"{__name__}:{name}") for name in ("on_the_loop", "in_a_thread")
    }
    [found] = cautions(sources, {"on_the_loop": on_the_loop, "in_a_thread": in_a_thread})
    assert found.startswith("sources.on_the_loop.processor: ")
    assert "asyncio" in found
    assert load(f"{__name__}:on_the_loop", Path()) is on_the_loop


@pytest.mark.parametrize("secret", [b" key", b"key\t", b"key\n", b"\xef\xbb\xbfkey"])
def test_blanks_around_a_signing_secret(secret: bytes) -> None:
    """White space and a byte order mark around a signing secret are named by key and place; the secret is not told."""
    sources = {
        name: Source(name, "webhook", (), (b"two words", value))
        for name, value in (("odd", secret), ("plain", b"two words"))
    }
    [found] = cautions(sources, {})
    assert found.startswith("sources.odd.signing_secrets: entry 2: ")
    assert "key" not in found


def test_an_outage_that_does_not_exist() -> None:
    """A class that its module, which is loaded, does not have is named; what is not loaded may have it."""
    names = ("json.JSONDecodeError", "json.JSONDecodeEror", "never_loaded.Away")
    [found] = cautions({"a": Source("a", "webhook", (), processor_outages=names)}, {})
    assert found == "sources.a.processor_outages: there is no json.JSONDecodeEror in that module"


def test_a_token_that_nobody_sends_is_said() -> None:
    """A vendor that signs and cannot send a token is never let in by a source that asks for both."""
    source = Source("a", "webhook", (bytes(32),), (b"secret",), (b"secret",), signature="stripe")
    [found] = cautions({"a": source}, {})
    assert found.startswith("sources.a.tokens: senders that sign as stripe send no Authorization header")
    assert cautions({"a": replace(source, token_digests=())}, {}) == []
    assert cautions({"a": replace(source, signature="standard-webhooks")}, {}) == []
