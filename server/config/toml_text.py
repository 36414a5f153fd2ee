"""The text of a configuration file: read, and parsed as TOML. Says what is wrong with it as a whole."""

import codecs
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from server.base.printable import one_line
from server.base.source import Source

CONFIG_BYTES_MAX = 4 * 2**20
"""Room for thousands of sources; catches a path to something endless."""

Table = Mapping[str, Any]


class ConfigError(Exception):
    """The file cannot be used. `mistakes` has a line for each, which names its key and holds no secret."""

    def __init__(self, mistakes: list[str], sources: Mapping[str, Source] = MappingProxyType({})) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes
        self.sources = sources
        """The sources without a mistake, so that they can be checked further."""


def read(path: Path) -> bytes:
    """Return what is in the file, or the beginning of what is too large. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            return file.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None


def parse(path: Path, content: bytes | None = None) -> Table:
    """Return the table that the file holds; with `content`, the one that it would hold. Raises ConfigError."""
    content = read(path) if content is None else content
    if len(content) > CONFIG_BYTES_MAX:
        raise ConfigError([f"{path}: larger than {CONFIG_BYTES_MAX} bytes"])
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError([f"{path}: is not UTF-8 but UTF-16: save it as UTF-8"])
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8 (byte {error.start})"]) from None
    except ValueError as error:
        raise ConfigError([f"{path}: is not TOML: {one_line(str(error))}"]) from None
    except RecursionError:
        raise ConfigError([f"{path}: is nested too deeply"]) from None
