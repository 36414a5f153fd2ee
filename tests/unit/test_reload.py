"""What a reload refuses because of how the server was started."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from server.config.load import load
from server.flow.engine import Engine
from server.runtime.reload import Reload

SOURCE = '[sources.demo]\ntype = "webhook"\ntokens = ["{}"]\n'
STARTED = '[server]\nbind = "192.0.2.1:8080"\nadmin_bind = "192.0.2.1:8081"\nadmin_token = "an-admin-token"\n'


class FakeEngine:
    """Remembers the names of the sources that it was given."""

    def __init__(self) -> None:
        self.sources: list[list[str]] = []

    def state(self, source_id: str) -> None:
        """None of them has events."""

    def configure(self, sources: Mapping[str, Any], functions: Mapping[str, Any]) -> None:
        self.sources.append(list(sources))


async def reloaded(tmp_path: Path, started: str, then: str) -> tuple[bool, FakeEngine, Reload]:
    """A server that was started with one file, and hears of another."""
    path = tmp_path / "tidegate.toml"
    path.write_text(started)
    engine = FakeEngine()
    reload = Reload(load(path, {}), cast(Engine, engine))
    path.write_text(then)
    return await reload.reload(), engine, reload


@pytest.mark.parametrize(
    "then",
    [
        SOURCE.format("a-token"),
        '[server]\nadmin_token = "for-trying-only"\n' + SOURCE.format("a-token"),
        '[server]\nadmin_token = "an-admin-token"\n' + SOURCE.format("for-trying-only"),
        '[server]\nadmin_token = "an-admin-token"\n',
    ],
)
async def test_a_reload_opens_nothing_to_everybody(tmp_path: Path, then: str) -> None:
    """A file that is right on loopback is refused where the running listeners are beyond it: they stay where they are.

    Without its token the admin side of such a server had stood open from then on.
    """
    taken, engine, reload = await reloaded(tmp_path, STARTED + SOURCE.format("a-token"), then)
    assert (taken, engine.sources) == (False, [])
    assert reload.config.server.admin_token == b"an-admin-token"


async def test_a_reload_changes_secrets_beyond_loopback(tmp_path: Path) -> None:
    """Other tokens that are as good are taken over, also where the file has other addresses for the next start."""
    then = '[server]\nadmin_token = "another"\n' + SOURCE.format("another-token")
    taken, engine, reload = await reloaded(tmp_path, STARTED + SOURCE.format("a-token"), then)
    assert (taken, engine.sources) == (True, [["demo"]])
    assert reload.config.server.admin_token == b"another"


async def test_a_server_without_sources_stays_one(tmp_path: Path) -> None:
    """Where there was no source, a file without one changes nothing and is no mistake."""
    taken, _, _ = await reloaded(tmp_path, "", "")
    assert taken


async def test_a_refused_reload_is_remembered(tmp_path: Path) -> None:
    """Whether the last reload was taken over is known: yes at the start, no after a bad file, yes after a good one."""
    path = tmp_path / "tidegate.toml"
    path.write_text(SOURCE.format("a-token"))
    reload = Reload(load(path, {}), cast(Engine, FakeEngine()))
    assert reload.succeeded
    path.write_text(SOURCE.format(""))
    assert not await reload.reload()
    assert not reload.succeeded
    path.write_text(SOURCE.format("another-token") + 'processor = "nowhere:work"\n')
    assert not await reload.reload()
    assert not reload.succeeded
    path.write_text(SOURCE.format("another-token"))
    assert await reload.reload()
    assert reload.succeeded
