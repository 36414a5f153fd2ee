"""Reads the configuration from its file into frozen objects; reports every mistake at once."""

import difflib
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from server.base.source import Source, field_path
from server.config import secrets
from server.config.secrets import InvalidValue, SecretContext
from server.config.settings import (
    SECTIONS,
    Config,
    DedupConfig,
    LimitsConfig,
    QueueConfig,
    RetentionConfig,
    ServerConfig,
    StorageConfig,
)
from server.config.source_settings import DEFAULT_SCHEME, SOURCE_SETTINGS, WEBHOOK_SETTINGS
from server.config.toml_text import ConfigError, Table, parse
from server.config.values import REQUIRED, Address, Setting, settings_of
from server.intake.schemes import SCHEMES

__all__ = [
    "Address",
    "Config",
    "ConfigError",
    "DedupConfig",
    "LimitsConfig",
    "QueueConfig",
    "RetentionConfig",
    "ServerConfig",
    "StorageConfig",
    "absolute",
    "check_reload",
    "has_section",
    "load",
    "load_section",
    "restart_needed",
    "sending_token",
    "source_ids",
]

SOURCE_ID = r"[A-Za-z0-9_-]{1,64}"
SOURCE_ID_WORDS = "a source id has 1 to 64 of the characters A-Z a-z 0-9 _ -"

Section = TypeVar("Section", ServerConfig, StorageConfig, DedupConfig, RetentionConfig)


def load(path: Path, environ: Mapping[str, str] = os.environ, content: bytes | None = None) -> Config:
    """Return the configuration in this file, secrets resolved. Raises ConfigError with every mistake there is.

    `content`: what is judged as if it stood in the file.
    """
    path = absolute(path)
    reader = _Reader(parse(path, content), SecretContext(environ, path.parent))
    sections: dict[str, Any] = {name: reader.section(name) for name in SECTIONS}
    sources = MappingProxyType(reader.sources())
    config = Config(path=path, sources=sources, retention_is_configured="retention" in reader.tree, **sections)
    reader.check_unknown("", reader.tree, [*SECTIONS, "sources"])
    _check_relations(reader, config)
    if reader.mistakes:
        raise ConfigError([f"{key}: {message}" for key, message in reader.mistakes], config.sources)
    return config


def load_section(path: Path, section: type[Section], environ: Mapping[str, str] = os.environ) -> Section:
    """Return a single section, for commands that only use the store: they need no source's secrets.

    Raises ConfigError with every mistake in this section.
    """
    path = absolute(path)
    reader = _Reader(parse(path), SecretContext(environ, path.parent))
    found: Section = reader.section(next(name for name, each in SECTIONS.items() if each is section))
    if reader.mistakes:
        raise ConfigError([f"{key}: {message}" for key, message in reader.mistakes])
    return found


def restart_needed(old: Config, new: Config) -> list[str]:
    """Return the changed keys that a reload cannot apply: all but sources and secrets."""
    changed = [
        f"{name}.{key}"
        for name, section in SECTIONS.items()
        for key in settings_of(section)
        if f"{name}.{key}" != "server.admin_token"
        if getattr(getattr(old, name), key) != getattr(getattr(new, name), key)
    ]
    return changed + ["retention"] * (old.retention_is_configured != new.retention_is_configured)


def publicly_exposed(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the key and message of each setting that would leave the server open to everybody at its addresses."""
    server = config.server
    if not server.admin_bind.is_loopback:
        if not server.admin_token:
            yield "server.admin_token", f"is required, since server.admin_bind {server.admin_bind} is not loopback"
        if server.admin_token == secrets.PUBLIC_TOKEN:
            yield "server.admin_token", "everybody knows this one; it is for trying only, on loopback"
    if not server.bind.is_loopback:
        for source in config.sources.values():
            if secrets.PUBLIC_DIGEST in source.token_digests:
                words = f"everybody knows the demo's token, and server.bind {server.bind} is not loopback"
                yield f"sources.{source.id}.tokens", words


def check_reload(bound: ServerConfig, sources: Mapping[str, Source], config: Config) -> None:
    """Raise ConfigError if a running server with these `sources` must not switch to this configuration.

    It keeps listening on the addresses of `bound`, whatever the file says now.
    """
    server = replace(config.server, bind=bound.bind, admin_bind=bound.admin_bind)
    mistakes = [f"{key}: {message}" for key, message in publicly_exposed(replace(config, server=server))]
    if sources and not config.sources:
        mistakes.append("sources: the file has none any more; to take nothing, stop the server instead")
    if mistakes:
        raise ConfigError(mistakes)


def has_section(path: Path, name: str) -> bool:
    """Return whether this section stands in the file. Raises ConfigError if that is not TOML."""
    return name in parse(absolute(path))


def source_ids(path: Path) -> list[str]:
    """Return the ids of the sources in this file, whatever else is in it. Raises ConfigError if it cannot be read."""
    sources = parse(absolute(path)).get("sources", {})
    return list(sources) if isinstance(sources, dict) else []


def sending_token(config: Config, source_id: str, environ: Mapping[str, str] = os.environ) -> bytes | None:
    """Return a token that this source accepts, for a client on this host; None if only hashes are configured.

    Read from the file again: a Config holds only digests.
    """
    tokens = parse(config.path)["sources"][source_id]["tokens"]
    context = SecretContext(environ, config.path.parent)
    return next((secrets.token(each, context) for each in tokens if not each.startswith("sha256:")), None)


class _Reader:
    """Reads the parsed file and collects its mistakes."""

    def __init__(self, tree: Table, context: SecretContext) -> None:
        self.tree = tree
        self.context = context
        self.mistakes: list[tuple[str, str]] = []
        self.public_token_keys: list[str] = []
        """Keys of sources that accept the public token and have another mistake."""

    def section(self, name: str) -> Any:
        """Return the section as its dataclass, with defaults in place of bad values, so that reading can go on."""
        section = SECTIONS[name]
        values = self._values(name, self._table(name, self.tree.get(name, {})), settings_of(section))
        if section is StorageConfig:
            path = values.get("path", StorageConfig().path)
            values["path"] = absolute(self.context.directory / path)
        return section(**values)

    def sources(self) -> dict[str, Source]:
        """Return every source without a mistake in it."""
        found = {}
        for name, table in self._table("sources", self.tree.get("sources", {})).items():
            key = _key("sources", name)
            if not re.fullmatch(SOURCE_ID, name):
                self.add_mistake(key, SOURCE_ID_WORDS)
            before = len(self.mistakes)
            values = self._values(key, self._table(key, table), SOURCE_SETTINGS)
            signed = self._signed(key, values)
            if len(self.mistakes) == before:
                found[name] = Source(id=name, token_digests=values.pop("tokens"), **values | signed)
            elif secrets.PUBLIC_DIGEST in values.get("tokens", ()):
                self.public_token_keys.append(key)
        return found

    def _signed(self, key: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a source's scheme makes of its settings."""
        given = values.get("signing_secrets", ())
        is_unsigned = not given and self.is_valid(f"{key}.signing_secrets")
        if values.get("type") == "segment":
            for name in WEBHOOK_SETTINGS:
                if values.get(name):
                    self.add_mistake(f"{key}.{name}", "is for sources of type webhook only")
        elif values.get("cors_origins"):
            self.add_mistake(f"{key}.cors_origins", "is for sources of type segment only")
        if is_unsigned and values.get("tokens") == ():
            self.add_mistake(f"{key}.tokens", "may not be empty where signing_secrets is: everybody could send")
        if is_unsigned and values.get("signature", DEFAULT_SCHEME) != DEFAULT_SCHEME:
            self.add_mistake(f"{key}.signature", "needs signing_secrets")
        if is_unsigned and values.get("same_body") == "duplicate":
            self.add_mistake(f"{key}.same_body", "needs signing_secrets: equal bodies are duplicates only if signed")
        is_meta = values.get("signature") == "meta"
        if is_meta != bool(values.get("verify_token")) and self.is_valid(f"{key}.verify_token"):
            words = 'is needed where signature is "meta"' if is_meta else 'is for signature = "meta" only'
            self.add_mistake(f"{key}.verify_token", words)
        scheme, keys = SCHEMES[values.get("signature", DEFAULT_SCHEME)], []
        for place, secret in enumerate(given):
            try:
                keys.append(scheme.key(secret))
            except ValueError as error:
                self.add_mistake(f"{key}.signing_secrets", f"entry {place + 1}: {error}")
        paths = {
            name: values.get(name) or (tuple(filter(None, map(field_path, default))) if given else ())
            for name, default in (("event_id_from", scheme.event_id_from), ("event_type_from", scheme.event_type_from))
        }
        return {"signing_keys": tuple(keys)} | paths

    def add_mistake(self, key: str, message: str) -> None:
        self.mistakes.append((key, message))

    def is_valid(self, *keys: str) -> bool:
        """Return whether none of these keys has a mistake, so that they can be compared."""
        return not {key for key, _ in self.mistakes} & set(keys)

    def check_unknown(self, prefix: str, table: Table, known: Iterable[str]) -> None:
        known = list(known)
        for name in table:
            if name not in known:
                close = _closest(name[:64], known)
                self.add_mistake(_key(prefix, name), f"unknown key; did you mean {close}?" if close else "unknown key")

    def _table(self, key: str, value: object) -> Table:
        if isinstance(value, dict):
            return value
        self.add_mistake(key, f"must be a table, written as [{key}]")
        return {}

    def _values(self, prefix: str, table: Table, settings: Mapping[str, Setting]) -> dict[str, Any]:
        self.check_unknown(prefix, table, settings)
        values = {}
        for name, setting in settings.items():
            if name not in table:
                if setting.default is REQUIRED:
                    self.add_mistake(f"{prefix}.{name}", f"is missing; it must be {setting.kind.words}")
                continue
            try:
                values[name] = setting.kind.read(table[name], self.context)
            except InvalidValue as error:
                self.add_mistake(f"{prefix}.{name}", str(error))
        return values


def _check_relations(reader: _Reader, config: Config) -> None:
    """Check combinations of values: those that could not work, or would leave the server open to everybody."""
    server, limits = config.server, config.limits
    if reader.is_valid("server.bind", "server.admin_bind") and server.bind.overlaps(server.admin_bind):
        reader.add_mistake("server.admin_bind", f"{server.admin_bind} and server.bind {server.bind} are the same port")
    for key, message in publicly_exposed(config):
        if reader.is_valid(key):
            reader.add_mistake(key, message)
    if reader.is_valid("server.bind") and not server.bind.is_loopback:
        for key in reader.public_token_keys:
            reader.add_mistake(
                f"{key}.tokens", f"everybody knows the demo's token, and server.bind {server.bind} is not loopback"
            )
    reading, in_flight = "limits.body_bytes_max", "limits.in_flight_bytes_max"
    if reader.is_valid(reading, in_flight) and limits.in_flight_bytes_max < limits.body_bytes_max:
        reader.add_mistake(in_flight, f"must be at least {reading}, which is {limits.body_bytes_max}")
    for source in config.sources.values():
        if reader.is_valid(in_flight) and limits.in_flight_bytes_max < source.body_bytes_max:
            own = f"sources.{source.id}.body_bytes_max"
            reader.add_mistake(in_flight, f"must be at least {own}, which is {source.body_bytes_max}")
        tolerance = source.signature_tolerance_seconds
        if source.signing_keys and SCHEMES[source.signature].is_dated and config.dedup.window_ms < 2000 * tolerance:
            words = f"must be at least twice signature_tolerance_seconds of source {source.id}, which is {tolerance}"
            reader.add_mistake("dedup.window_hours", f"{words}: else a request that was seen could be sent again")


def _closest(name: str, known: list[str]) -> str | None:
    """Return the key that was probably meant: of the similar ones, that with the longest common prefix."""
    alike = [*(each for each in known if name and each.startswith(name)), *difflib.get_close_matches(name, known)]
    return max(alike, key=lambda each: _same_letters(name, each), default=None)


def _same_letters(one: str, other: str) -> int:
    """Return the length of the common prefix."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def absolute(path: Path) -> Path:
    """Return the whole path of a configuration file. Raises ConfigError if it is relative to what is gone."""
    try:
        return Path(os.path.abspath(path))  # noqa: PTH100 - not resolve(): paths are relative to the link
    except FileNotFoundError:
        raise ConfigError([f"{path}: the working directory is gone; say the whole path"]) from None


def _key(prefix: str, name: str) -> str:
    shown = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name[:80])
    return f"{prefix}.{shown}" if prefix else shown
