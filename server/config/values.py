"""What a value of the configuration may be, in words and code: a TOML value in, a checked one or InvalidValue out."""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any

from server.base.source import FieldPath, field_path
from server.config import secrets
from server.config.secrets import InvalidValue, SecretContext
from server.intake.headers import SECRET_PARTS

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value may be: `words` follow "must be", `read` checks and converts it, or raises InvalidValue."""

    words: str
    read: Callable[[object, SecretContext], Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the configuration. `default` is as in TOML; REQUIRED means that there is none."""

    default: object
    kind: Kind
    why: str


REQUIRED = object()

PATH_CHARACTERS_MAX = 256
"""Of a path to an id or a type."""
HEADER_NAME = rb"[!#$%&'*+\-.^_`|~0-9a-z]+"

IPV4_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def setting(default: object, kind: Kind, why: str, *, shown: bool = True) -> Any:
    """Return a dataclass field that carries its Setting, so that a section's class is the table of its settings."""
    return field(default=kind.read(default, NO_CONTEXT), repr=shown, metadata={"setting": Setting(default, kind, why)})


def settings_of(section: type) -> Mapping[str, Setting]:
    """Return the settings of a section's dataclass, in order."""
    return {each.name: each.metadata["setting"] for each in fields(section)}


LOCALHOST = "localhost"
LOOPBACK_HOSTS = ("127.0.0.1", "::1")
"""What localhost means. No resolver is asked: it could name an address that others reach."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener binds: localhost or an IP address in its shortest form, and a port (0: any free one)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def hosts(self) -> Sequence[str]:
        """The IP addresses to bind."""
        return LOOPBACK_HOSTS if self.host == LOCALHOST else (self.host,)

    @property
    def is_loopback(self) -> bool:
        return all(ipaddress.ip_address(host).is_loopback for host in self.hosts)

    def overlaps(self, other: "Address") -> bool:
        """Return whether the two cannot be bound at once."""
        pairs = product(self.hosts, other.hosts)
        return self.port == other.port != 0 and any(_includes(*pair) or _includes(*pair[::-1]) for pair in pairs)


def _includes(host: str, other: str) -> bool:
    """Return whether whoever binds `host` has the other too: `[::]` takes IPv4 as well."""
    here, there = ipaddress.ip_address(host), ipaddress.ip_address(other)
    return here == there or (here.is_unspecified and here.version >= there.version)


def count(minimum: int, maximum: int, *, zero: str = "") -> Kind:
    """Return the kind of an integer. `zero` says what 0 means, if it is allowed only for that meaning."""

    def read(value: object, _: SecretContext) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidValue(f"must be {words}, not {show(value)}")
        if not (minimum <= value <= maximum or (zero and value == 0)):
            raise InvalidValue(f"must be {words}, not {show(value)}")
        return value

    words = f"an integer from {minimum} to {maximum}" + (f", or 0 ({zero})" if zero else "")
    return Kind(words, read)


def number(above: float, maximum: float, *, least: float = 0, zero: str = "") -> Kind:
    """Return the kind of a finite number greater than `above` and at least `least`; `zero` as in count()."""

    def read(value: object, _: SecretContext) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidValue(f"must be {words}, not {show(value)}")
        if not (above < value <= maximum and least <= value) and not (zero and value == 0):
            raise InvalidValue(f"must be {words}, not {show(value)}")
        return value

    bounds = f"from {least:g} to" if least else f"greater than {above:g} and at most"
    words = f"a number {bounds} {maximum:.15g}" + (f", or 0 ({zero})" if zero else "")
    return Kind(words, read)


def text(words: str, accepts: Callable[[str], object]) -> Kind:
    """Return the kind of a string for which `accepts` returns true."""

    def read(value: object, _: SecretContext) -> str:
        if not isinstance(value, str) or not accepts(value):
            raise InvalidValue(f"must be {words}, not {show(value)}")
        return value

    return Kind(words, read)


def choice(*options: str) -> Kind:
    *others, last = (f'"{option}"' for option in options)
    return text(f"{', '.join(others)} or {last}", lambda value: value in options)


def list_of(words: str, read_each: Callable[[object, SecretContext], Any]) -> Kind:
    """Return the kind of a list, read into a tuple. Every bad entry is reported by its place."""

    def read(value: object, context: SecretContext) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise InvalidValue(
                f"must be {words}"
            )  # without the value: it may be a secret that should have been in a list
        found, mistakes = [], []
        for place, each in enumerate(value):
            try:
                found.append(read_each(each, context))
            except InvalidValue as error:
                mistakes.append(f"entry {place + 1}: {error}")
        if mistakes:
            raise InvalidValue("; ".join(mistakes))
        return tuple(found)

    return Kind(words, read)


def show(value: object) -> str:
    """Return a value for a message: on one line, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    words = "a huge integer" if isinstance(value, int) and value.bit_length() > 128 else repr(value)
    return words if len(words) <= 60 else words[:57] + "..."


def _boolean(value: object, _: SecretContext) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(f"must be {BOOLEAN.words}, not {show(value)}")
    return value


def _address(value: object, _: SecretContext) -> Address:
    match = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]]+)):([0-9]{1,5})", value) if isinstance(value, str) else None
    if match is None or int(match[3]) > 65535:
        raise InvalidValue(f"must be {ADDRESS.words}, not {show(value)}")
    try:
        host = ipaddress.IPv6Address(match[1]) if match[1] else ipaddress.IPv4Address(match[2])
    except ValueError:
        if match[2] != LOCALHOST:
            raise InvalidValue(f"must be {ADDRESS.words}, not {show(value)}") from None
        return Address(LOCALHOST, int(match[3]))
    return Address(str(getattr(host, "ipv4_mapped", None) or host), int(match[3]))


def _network(value: object, _: SecretContext) -> Network:
    try:
        if isinstance(value, str):
            return _unmapped(ipaddress.ip_network(value))
    except ValueError:
        pass
    raise InvalidValue(f'must be a network such as "10.0.0.0/8", without host bits, not {show(value)}')


def _unmapped(network: Network) -> Network:
    """Return a network of IPv4-mapped addresses as IPv4, as which these are compared."""
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(IPV4_MAPPED):
        return ipaddress.IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def _path(value: object, _: SecretContext) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidValue(f"must be {PATH.words}, not {show(value)}")
    return Path(value)


def _processor(value: str) -> bool:
    module, _, function = value.partition(":")
    return value == "" or (all(part.isidentifier() for part in module.split(".")) and function.isidentifier())


def _class_name(value: object, _: SecretContext) -> str:
    if isinstance(value, str) and "." in value and all(part.isidentifier() for part in value.split(".")):
        return value
    raise InvalidValue(f'must be the name of a class such as "module.Class", not {show(value)}')


def _field_path(value: object, _: SecretContext) -> FieldPath:
    found = field_path(value) if isinstance(value, str) and len(value) <= PATH_CHARACTERS_MAX else None
    if found is None or not (found.keys or re.fullmatch(HEADER_NAME, found.header)):
        raise InvalidValue(f'must be a place such as "body.data.id" or "header.x-request-id", not {show(value)}')
    if found.header and SECRET_PARTS.search(found.header):
        raise InvalidValue(f"{found.text}: a header that may hold a secret or a signature names no event")
    if found.header == b"content-length":
        raise InvalidValue(f"{found.text}: the length of a request says nothing of its events")
    return found


def _origin(value: object, _: SecretContext) -> bytes:
    if isinstance(value, str) and re.fullmatch(r"\*|[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]+", value):
        return value.encode()
    raise InvalidValue(f'must be an origin such as "https://www.example.com", in lower case, or "*", not {show(value)}')


ADDRESS = Kind('an IP address or localhost, and a port, such as "127.0.0.1:8080" or "[::1]:8080"', _address)
PATH = Kind("a path", _path)
NETWORKS = list_of('a list of networks, such as ["10.0.0.0/8"]', _network)
TOKENS = list_of("a list of secrets: each the token itself, env:NAME, file:PATH or sha256:HEX", secrets.token_digest)
PATHS = list_of('a list of places, each "body.KEY", "body.KEY.KEY" or "header.NAME"', _field_path)
SIGNING_SECRETS = list_of("a list of secrets: each the secret itself, env:NAME or file:PATH", secrets.resolve)
ADMIN_TOKEN = Kind(
    'a secret (the token itself, env:NAME or file:PATH), or "" for none',
    lambda value, context: b"" if value == "" else secrets.token(value, context),
)
VERIFY_TOKEN = Kind(
    'a secret (the text itself, env:NAME or file:PATH), or "" for none',
    lambda value, context: b"" if value == "" else secrets.resolve(value, context),
)
BOOLEAN = Kind("true or false", _boolean)
EVENT_TYPE = text("a string of at most 256 bytes", lambda value: len(value.encode()) <= 256)
PROCESSOR = text('"module:function", or "" for none', _processor)
ORIGINS = list_of('a list of origins, such as ["https://www.example.com"], or ["*"]', _origin)
CLASSES = list_of('a list of names of classes, such as ["module.Class"]', _class_name)
NO_CONTEXT = SecretContext({}, Path())
