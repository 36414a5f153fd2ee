"""SIGHUP: another configuration for a running server, all of it or nothing."""

import signal

import trio

from server import log
from server.config import Config, ConfigError, load, restart_needed
from server.flow.engine import Engine, load_processors
from server.flow.processor import ProcessorError


class Reload:
    """Holds the configuration in force."""

    def __init__(self, config: Config, engine: Engine) -> None:
        self.config = config
        self._at_start = config
        self._engine = engine
        self._log = log.get("tidegate.reload")

    async def on_sighup(self) -> None:
        """Reload at every SIGHUP, for ever."""
        with trio.open_signal_receiver(signal.SIGHUP) as hangups:
            async for _ in hangups:
                self.reload()

    def reload(self) -> bool:
        """Read the file again; swap sources and secrets at once, or keep the old ones and say why."""
        try:
            config = load(self.config.path)
            functions = load_processors(config.sources, config.path.parent)
        except ConfigError as error:
            return self._kept(error.mistakes)
        except ProcessorError as error:
            return self._kept([str(error)])
        for key in restart_needed(self._at_start, config):
            self._log.warning("a restart is needed for a changed setting", key=key)
        self._engine.configure(config.sources, functions)
        self.config = config
        self._log.info("reloaded", sources=sorted(config.sources))
        return True

    def _kept(self, mistakes: list[str]) -> bool:
        for mistake in mistakes:
            self._log.error("the new configuration is not taken over; the old one stays in force", mistake=mistake)
        return False
