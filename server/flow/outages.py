"""Which exceptions are outages: they say that the world behind a processor is away, not that an event is bad.

The first rule that matches decides: a refused certificate and `SystemExit` (never), an HTTP status, the exceptions of
the network itself, a class by its name, what the exception wraps, and the members of a group. Anything else is the
event's fault or the program's.

Foreign attributes may block, so this runs in the thread of the source; one that raises counts as absent. What an
exception wraps is read from the interpreter's own slots, whatever its class says.
"""

import errno
import socket
import ssl
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar

import trio

T = TypeVar("T")

LINKS_MAX = 16
"""Exceptions of a chain that are looked at. A client around a client around a third one makes about six."""

STATUSES = range(100, 600)
"""What may be an HTTP status. A number outside is something else, as the 11000 of a database."""

AWAY_STATUSES = frozenset({408, 425, 429, *range(500, 600)})
"""Request Timeout, Too Early, Too Many Requests, and all errors of a server's own."""

NETWORK_ERRORS = (ConnectionError, TimeoutError, trio.TooSlowError, trio.BrokenResourceError)

NETWORK_ERRNOS = frozenset(
    {
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.EPIPE,
        errno.ETIMEDOUT,
    }
)

AWAY_SQLSTATES = ("08", "53300", "57P01", "57P02", "57P03", "57P05")
"""How they begin: connection exceptions; too many connections; shut down, crashed, starting; closed because idle."""

AWAY_GRPC_CODES = ("UNAVAILABLE", "DEADLINE_EXCEEDED")

CAUSE = BaseException.__dict__["__cause__"].__get__
CONTEXT = BaseException.__dict__["__context__"].__get__
MEMBERS = BaseExceptionGroup.__dict__["exceptions"].__get__
ERRNO = OSError.__dict__["errno"].__get__
MRO = type.__dict__["__mro__"].__get__
MODULE = type.__dict__["__module__"].__get__
NAME = type.__dict__["__qualname__"].__get__
"""Read what is there without asking a foreign class, which may say something else, or raise."""


def is_outage(error: BaseException, names: Collection[str] = ()) -> bool:
    """Return whether this exception is an outage. `names`: classes that are for this source, as "module.Class"."""
    return _judge(error, names, {}, LINKS_MAX)


def _judge(error: BaseException, names: Collection[str], known: dict[int, bool], links: int) -> bool:
    """`known` holds what was judged already, by identity: groups may share members, and chains may be circles."""
    if id(error) not in known:
        known[id(error)] = False
        known[id(error)] = links > 0 and _is_away(error, names, known, links - 1)
    return known[id(error)]


def _is_away(error: BaseException, names: Collection[str], known: dict[int, bool], links: int) -> bool:
    if issubclass(type(error), SystemExit) or any(map(_is_certificate_refused, _chain(error))):
        return False
    status = _status(error)
    if status is not None:
        return status in AWAY_STATUSES
    if _is_network(error) or _is_listed(error) or _is_named(error, names):
        return True
    if any(_judge(each, names, known, links) for each in _wrapped(error)):
        return True
    return issubclass(type(error), BaseExceptionGroup) and all(
        _judge(each, names, known, links) for each in MEMBERS(error)
    )


def _chain(error: BaseException) -> list[BaseException]:
    """Return the exception, its causes and its contexts, hidden or not, nearest first."""
    chain = [error]
    for each in chain:
        for link in (CAUSE(each), CONTEXT(each)):
            if link is not None and len(chain) < LINKS_MAX and not any(link is other for other in chain):
                chain.append(link)
    return chain


def _is_certificate_refused(error: BaseException) -> bool:
    return issubclass(type(error), ssl.SSLCertVerificationError)


def _wrapped(error: BaseException) -> Iterator[BaseException]:
    """Yield what the exception was made from. A builtin one that was not raised `from` another is a new mistake."""
    cause, context = CAUSE(error), CONTEXT(error)
    if cause is not None:
        yield cause
    if context is not None and context is not cause and _module(type(error)) != "builtins":
        yield context


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that the exception or its response carries."""
    response = _attribute(error, "response")
    for holder in (error, response):
        for name in ("code", "status", "status_code"):
            status = _as_status(_attribute(holder, name))
            if status is not None:
                return status
    return _as_status(_item(_item(response, "ResponseMetadata"), "HTTPStatusCode"))


def _as_status(value: object) -> int | None:
    if not issubclass(type(value), int) or type(value) is bool:
        return None
    number = int.__index__(value)  # type: ignore[arg-type]  # an int, as its type says
    return number if number in STATUSES else None


def _is_network(error: BaseException) -> bool:
    kind = type(error)
    if issubclass(kind, NETWORK_ERRORS):
        return True
    if not issubclass(kind, OSError):
        return False
    return ERRNO(error) in ((socket.EAI_AGAIN,) if issubclass(kind, socket.gaierror) else NETWORK_ERRNOS)


def _is_named(error: BaseException, names: Collection[str]) -> bool:
    """By the module that defines the class, or by one that is loaded and has it under this name."""
    return any(
        f"{_module(kind)}.{_name(kind)}" == name or _loaded(name) is kind for name in names for kind in MRO(type(error))
    )


def _loaded(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    return _tried(lambda: vars(sys.modules[module])[attribute])


def _module(kind: type) -> str:
    return _tried(lambda: str.__str__(MODULE(kind))) or ""


def _name(kind: type) -> str:
    return str.__str__(NAME(kind))


def _is_listed(error: BaseException) -> bool:
    """The nearest class that is listed decides, so that an exception to its base class can be listed too."""
    for kind in MRO(type(error)):
        package, _, _ = _module(kind).partition(".")
        decide = LISTED.get(f"{package}.{_name(kind)}")
        if decide is not None:
            return decide(error)
    return False


def _sql(error: BaseException) -> bool:
    """Without a state the server did not answer: it is the client that says so."""
    state = _attribute(error, "sqlstate") or _attribute(error, "pgcode")
    return state is None or (type(state) is str and state.startswith(AWAY_SQLSTATES))


def _grpc(error: BaseException) -> bool:
    method: Any = _attribute(error, "code")
    return _attribute(_tried(method), "name") in AWAY_GRPC_CODES


def _aiohttp_payload(error: BaseException) -> bool:
    """An answer that broke off; not one that cannot be decoded, for which aiohttp has the same class."""
    return not any(_name(type(each)) == "ContentEncodingError" for each in _chain(error))


def _yes(_: BaseException) -> bool:
    return True


def _no(_: BaseException) -> bool:
    return False


LISTED: Mapping[str, Callable[[BaseException], bool]] = {
    "http.IncompleteRead": _yes,
    "ssl.SSLEOFError": _yes,
    "requests.RetryError": _yes,
    **{
        f"{package}.{name}": _yes
        for package in ("httpx", "httpx2")
        for name in ("TimeoutException", "NetworkError", "ProxyError", "RemoteProtocolError")
    },
    "redis.ConnectionError": _yes,
    "redis.AuthenticationError": _no,
    "redis.AuthorizationError": _no,
    "redis.TimeoutError": _yes,
    "redis.ReadOnlyError": _yes,
    "redis.OutOfMemoryError": _yes,
    "redis.TryAgainError": _yes,
    "redis.ClusterDownError": _yes,
    "redis.SlotNotCoveredError": _yes,
    "psycopg.OperationalError": _sql,
    "psycopg.PipelineAborted": _no,
    "psycopg2.OperationalError": _sql,
    "botocore.ConnectionError": _yes,
    "botocore.SSLError": _no,
    "botocore.ConnectionClosedError": _yes,
    "botocore.ReadTimeoutError": _yes,
    "botocore.ResponseStreamingError": _yes,
    "botocore.IncompleteReadError": _yes,
    "aiohttp.ClientConnectionError": _yes,
    "aiohttp.ClientSSLError": _no,
    "aiohttp.ServerFingerprintMismatch": _no,
    "aiohttp.ClientPayloadError": _aiohttp_payload,
    "pymongo.ConnectionFailure": _yes,
    "elastic_transport.ConnectionError": _yes,
    "elastic_transport.TlsError": _no,
    "elastic_transport.ConnectionTimeout": _yes,
    "grpc.RpcError": _grpc,
}
"""By the top package and the name of a class; subclasses too. None is imported: one that is raised is loaded."""


def _attribute(value: object, name: str) -> object:
    return _tried(lambda: getattr(value, name))


def _item(value: object, key: str) -> object:
    return _tried(lambda: value[key])  # type: ignore[index]  # else it raises


def _tried(ask: Callable[[], T]) -> T | None:
    """Return what a foreign object says; None if it raises."""
    try:
        return ask()
    except BaseException:  # noqa: BLE001  # it may raise anything
        return None
