"""SIGHUP: another configuration for a running server, all of it or nothing.

It is read in a thread of its own, since a processor's module may take its time to be imported, and takes the place
of the old one on the loop, in one step.
"""

import signal
from collections.abc import Mapping

import trio

from server.base import log
from server.base.source import Source
from server.base.terminal import early_hangups
from server.base.worker import Worker
from server.config.load import Config, ConfigError, check_reload, load, restart_needed
from server.flow.engine import Engine, load_processors
from server.flow.processor import ProcessorError
from server.flow.runner import Function
from server.runtime.cautions import warn
from server.runtime.signals import HangUp


class Reload:
    """Holds the configuration in force. Made inside `trio.run`."""

    def __init__(self, config: Config, engine: Engine) -> None:
        self.config = config
        self.succeeded = True
        """Whether the last reload was taken over, or there was none since the start."""
        self._at_start = config
        self._engine = engine
        self._reading = Worker("reload")
        self._log = log.get("tidegate.reload")

    async def on_sighup(self, hang_up: HangUp) -> None:
        """Reload at every SIGHUP, for ever, but for those that say that the terminal has gone."""
        with trio.open_signal_receiver(signal.SIGHUP) as hangups:
            if early_hangups:
                await self.reload()
            async for _ in hangups:
                if not hang_up.is_one():
                    await self.reload()

    async def reload(self) -> bool:
        """Read the file again; swap sources and secrets at once, or keep the old ones, say why and return False."""
        try:
            config, functions = await self._reading.run(self._read)
        except ConfigError as error:
            return self._kept(error.mistakes)
        except ProcessorError as error:
            return self._kept([str(error)])
        for key in restart_needed(self._at_start, config):
            self._log.warning("a restart is needed for a changed setting", key=key)
        self._say_archived(config.sources)
        self._engine.configure(config.sources, functions)
        self.config = config
        self.succeeded = True
        warn(config.sources, functions, self._log)
        self._log.info("reloaded", sources=sorted(config.sources))
        return True

    def _say_archived(self, sources: Mapping[str, Source]) -> None:
        """Say how many pending events go on without the processor that is taken out."""
        for source_id, source in sources.items():
            before, state = self.config.sources.get(source_id), self._engine.state(source_id)
            if source.archive_only and before is not None and not before.archive_only and state and state.pending:
                self._log.warning(
                    "pending events will be archived without a processor", source=source_id, pending=state.pending
                )

    def _read(self) -> tuple[Config, dict[str, Function]]:
        config = load(self.config.path)
        check_reload(self._at_start.server, self.config.sources, config)
        return config, load_processors(config.sources, config.path.parent)

    def _kept(self, mistakes: list[str]) -> bool:
        self.succeeded = False
        for mistake in mistakes:
            self._log.error("the new configuration is not taken over; the old one stays in force", mistake=mistake)
        return False
