"""Which exceptions are outages: rule by rule."""

import errno
import socket
import ssl
from collections.abc import Callable
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
import trio

from server.flow.outages import AWAY_GRPC_CODES, AWAY_SQLSTATES, LINKS_MAX, LISTED, is_outage
from tests.support.pages import ROOT

PACKAGES = {name.split(".")[0] for name in LISTED}


class Own(Exception):
    """A class of a program's own; what it was raised in counts."""


def carrying(base: type[Exception] = Own, /, **attributes: object) -> Exception:
    error = base()
    vars(error).update(attributes)
    return error


def wrapped(outer: BaseException, *, cause: BaseException | None = None, met: BaseException | None = None) -> Any:
    """`outer` as if raised from `cause`, or while `met` was handled and then hidden by `from None`."""
    outer.__cause__ = cause
    outer.__context__ = met
    outer.__suppress_context__ = True
    return outer


def named(path: str, *bases: type, **attributes: object) -> BaseException:
    """An exception of a class that says it is this one."""
    module, _, name = path.rpartition(".")
    error = type(name, bases or (Exception,), {"__module__": module})()
    vars(error).update(attributes)
    assert isinstance(error, BaseException)
    return error


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
CERTIFICATE = ssl.SSLCertVerificationError(1, "expired")


@pytest.mark.parametrize(
    "status", [408, 425, 429, 500, 502, 503, 504, 507, 599, HTTPStatus.SERVICE_UNAVAILABLE], ids=repr
)
@pytest.mark.parametrize("name", ["code", "status", "status_code"])
def test_these_statuses_say_that_it_is_away(status: int, name: str) -> None:
    """Of the exception itself or of its response, under each of the names in use."""
    assert is_outage(carrying(**{name: status}))
    assert is_outage(carrying(response=SimpleNamespace(**{name: status})))


@pytest.mark.parametrize("status", [100, 200, 301, 400, 401, 403, 404, 409, 410, 413, 422, 431, 499])
def test_any_other_status_is_an_answer(status: int) -> None:
    """It goes before everything else that the exception is: an HTTPError is an OSError, and may wrap a TimeoutError."""
    assert not is_outage(wrapped(carrying(ConnectionError, code=status), cause=REFUSED))
    assert not is_outage(carrying(ConnectionError, response=SimpleNamespace(status_code=status)))


@pytest.mark.parametrize("value", [True, 503.0, "503", None, 99, 600, 11000, -503, np.int64(503), len], ids=repr)
def test_what_is_no_status_counts_as_absent(value: object) -> None:
    """A grpc error's `code` is a method, a database's is a number of its own: the next rules decide."""
    assert not is_outage(carrying(code=value))
    assert is_outage(carrying(ConnectionError, code=value))
    assert is_outage(carrying(code=value, status=503))


@pytest.mark.parametrize(("status", "expected"), [(503, True), (429, True), (400, False), (True, False)])
def test_a_response_may_be_a_dict(status: int, expected: bool) -> None:
    """As botocore's."""
    response = {"Error": {"Code": "X"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    assert is_outage(carrying(response=response)) is expected
    assert not is_outage(carrying(response={"ResponseMetadata": None}))


def test_a_response_may_be_false() -> None:
    """The one of `requests` is false where it is an error."""

    class Response:
        status_code = 503

        def __bool__(self) -> bool:
            return False

    assert is_outage(carrying(response=Response()))


@pytest.mark.parametrize("exit_code", [503, 1, None])
def test_an_exit_is_never_an_outage(exit_code: int | None) -> None:
    """Its `code` is no status, whatever it was raised from; alone, wrapped or in a group."""
    error = wrapped(SystemExit(exit_code), cause=REFUSED)
    assert not is_outage(error)
    assert not is_outage(wrapped(Own(), cause=error))
    assert not is_outage(BaseExceptionGroup("", [error, REFUSED]))


@pytest.mark.parametrize(
    "error",
    [
        CERTIFICATE,
        wrapped(ConnectionError(), cause=CERTIFICATE),
        wrapped(named("httpx.ConnectError", type(named("httpx.NetworkError"))), cause=CERTIFICATE),
        wrapped(Own(), met=wrapped(carrying(status=503), met=CERTIFICATE)),
        wrapped(Own(), cause=REFUSED, met=CERTIFICATE),
        ExceptionGroup("", [REFUSED, CERTIFICATE]),
    ],
    ids=repr,
)
def test_a_refused_certificate_is_no_outage(error: BaseException) -> None:
    """Waiting does not make it valid; anywhere in the chain it goes before everything else."""
    assert not is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError(),
        REFUSED,
        BrokenPipeError(),
        ConnectionResetError(),
        TimeoutError(),
        trio.TooSlowError(),
        trio.BrokenResourceError(),
        socket.gaierror(socket.EAI_AGAIN, "try again"),
        *(
            OSError(getattr(errno, f"E{name}"), name)
            for name in ("NETUNREACH", "HOSTUNREACH", "NETDOWN", "HOSTDOWN", "NETRESET", "TIMEDOUT", "CONNABORTED")
        ),
    ],
    ids=repr,
)
def test_the_networks_own_exceptions_are_outages(error: BaseException) -> None:
    """Classes and error numbers; trio's timeout is no TimeoutError."""
    assert is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError(),
        OSError("all of it"),
        OSError(errno.ENOSPC, "disk full"),
        OSError(errno.ENAMETOOLONG, "name too long"),
        OSError(errno.EIO, "broken disk"),
        OSError(errno.EMFILE, "too many files"),
        FileNotFoundError(errno.ENOENT, "missing"),
        PermissionError(errno.EPERM, "not allowed"),
        BlockingIOError(errno.EAGAIN, "again"),
        socket.gaierror(socket.EAI_NONAME, "unknown name"),
        socket.gaierror(errno.ECONNREFUSED, "a number of another kind"),
        ssl.SSLError(1, "wrong version"),
        trio.ClosedResourceError(),
        ValueError(),
        KeyboardInterrupt(),
        Own(),
    ],
    ids=repr,
)
def test_other_exceptions_are_no_outages(error: BaseException) -> None:
    """Not each OSError: files, disks and names that do not exist are this host's, or the event's."""
    assert not is_outage(error)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("httpx.ConnectError(httpx.NetworkError)", True),
        ("httpx2.ReadTimeout(httpx2.TimeoutException)", True),
        ("httpx2.RemoteProtocolError", True),
        ("httpx.LocalProtocolError", False),
        ("httpx.UnsupportedProtocol", False),
        ("httpx2.DecodingError", False),
        ("redis.exceptions.ConnectionError", True),
        ("redis.exceptions.TimeoutError", True),
        ("redis.exceptions.BusyLoadingError(redis.exceptions.ConnectionError)", True),
        ("redis.exceptions.ReadOnlyError", True),
        ("redis.exceptions.AuthenticationError(redis.exceptions.ConnectionError)", False),
        ("redis.exceptions.ResponseError", False),
        ("botocore.exceptions.EndpointConnectionError(botocore.exceptions.ConnectionError)", True),
        ("botocore.exceptions.SSLError(botocore.exceptions.ConnectionError)", False),
        ("botocore.exceptions.ReadTimeoutError", True),
        ("botocore.exceptions.NoCredentialsError", False),
        ("aiohttp.client_exceptions.ServerDisconnectedError(aiohttp.client_exceptions.ClientConnectionError)", True),
        ("aiohttp.client_exceptions.ClientConnectorSSLError(aiohttp.client_exceptions.ClientSSLError)", False),
        ("aiohttp.client_exceptions.InvalidURL", False),
        ("pymongo.errors.ServerSelectionTimeoutError(pymongo.errors.ConnectionFailure)", True),
        ("pymongo.errors.OperationFailure", False),
        ("elastic_transport.ConnectionTimeout", True),
        ("http.client.IncompleteRead", True),
        ("requests.exceptions.RetryError", True),
        ("psycopg.OperationalError", True),
        ("psycopg.errors.PipelineAborted(psycopg.OperationalError)", False),
        ("mine.httpx.ConnectError", False),
        ("httpxyz.NetworkError", False),
    ],
)
def test_classes_are_known_by_their_names(name: str, expected: bool) -> None:
    """Module and class, of bases too, the nearest of them first; nothing is imported for it."""
    path, _, base = name.rstrip(")").partition("(")
    bases = (type(named(base)),) if base else ()
    assert is_outage(named(path, *bases)) is expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [(None, True), ("08006", True), ("57P01", True), ("53300", True), ("28P01", False), ("40001", False), (8, False)],
)
@pytest.mark.parametrize("attribute", ["psycopg.sqlstate", "psycopg2.pgcode"])
def test_a_databases_state_decides(state: object, expected: bool, attribute: str) -> None:
    """Without one there was no answer; a wrong password or a deadlock is one."""
    module, name = attribute.split(".")
    assert is_outage(named(f"{module}.OperationalError", **{name: state})) is expected


@pytest.mark.parametrize(
    ("code", "expected"), [("UNAVAILABLE", True), ("DEADLINE_EXCEEDED", True), ("NOT_FOUND", False), (None, False)]
)
def test_a_grpc_code_is_asked_for(code: str | None, expected: bool) -> None:
    """It is the name of what the method `code` gives."""
    assert is_outage(named("grpc.RpcError", code=lambda: SimpleNamespace(name=code))) is expected
    assert not is_outage(named("grpc.RpcError"))


def test_a_source_may_name_its_own_classes() -> None:
    """By where they are defined or by where a loaded module has them; subclasses too."""
    away = [socket.herror(), type("Sub", (socket.herror,), {})()]
    for name in ("socket.herror", "socket.herror.more", "absent.herror", "socket.absent"):
        assert [is_outage(each, (name,)) for each in away] == [name == "socket.herror"] * 2
    local = type("Away", (Exception,), {"__module__": "orders.client", "__qualname__": "Outer.Away"})()
    assert is_outage(local, ("a.B", "orders.client.Outer.Away"))
    assert not is_outage(local, ("orders.Away",))


def test_a_cause_of_any_class_counts() -> None:
    """`raise … from` says it, whatever is raised."""
    assert is_outage(wrapped(ValueError(), cause=wrapped(RuntimeError(), cause=REFUSED)))
    assert is_outage(wrapped(OSError("all attempts failed"), cause=ExceptionGroup("", [REFUSED, TimeoutError()])))
    assert not is_outage(wrapped(ValueError(), cause=carrying(code=422)))


def test_a_context_counts_unless_builtin() -> None:
    """A client's class raised while a timeout is handled wraps it, hidden or not; a ValueError raised there is new."""
    assert is_outage(wrapped(Own(), met=REFUSED))
    assert is_outage(wrapped(ssl.SSLError(), met=REFUSED))
    assert not is_outage(wrapped(ValueError(), met=REFUSED))
    assert is_outage(wrapped(ValueError(), cause=wrapped(Own(), met=REFUSED)))


def test_a_chain_is_followed_so_far() -> None:
    """Sixteen exceptions; and a circle ends."""

    def chain(length: int) -> BaseException:
        error: BaseException = REFUSED
        for _ in range(length - 1):
            error = wrapped(Own(), cause=error)
        return error

    assert is_outage(chain(LINKS_MAX))
    assert not is_outage(chain(LINKS_MAX + 1))
    first, second = Own(), Own()
    wrapped(first, cause=second)
    wrapped(second, met=first)
    assert not is_outage(first)


def test_all_of_a_group_must_be_outages() -> None:
    """Groups in groups too, and one that holds the same again and again is judged at once."""
    assert is_outage(ExceptionGroup("", [TimeoutError(), ExceptionGroup("", [REFUSED, carrying(status=503)])]))
    assert not is_outage(ExceptionGroup("", [TimeoutError(), ExceptionGroup("", [REFUSED, ValueError()])]))
    group: ExceptionGroup[Exception] = ExceptionGroup("", [TimeoutError()] * 1000)
    for _ in range(LINKS_MAX - 2):
        group = ExceptionGroup("", [group] * 1000)
    assert is_outage(group)
    assert is_outage(ExceptionGroup("", [TimeoutError() for _ in range(1000)]))


def fails(*_: object) -> NoReturn:
    raise SystemExit(503)


@pytest.mark.parametrize(
    "attributes",
    [
        {"__getattribute__": fails},
        {"code": property(fails), "response": property(fails)},
        {"__class__": property(fails), "__cause__": property(fails), "__module__": property(fails)},
    ],
    ids=["everything", "status", "identity"],
)
def test_attributes_that_raise_are_absent(attributes: dict[str, Callable[..., object]]) -> None:
    """What the exception is, and what it was raised from, is seen all the same."""
    own = type("Hostile", (Exception,), attributes)
    assert not is_outage(own(), ("a.B",))
    with pytest.raises(own) as caught:
        raise own() from REFUSED
    assert is_outage(caught.value, ("a.B",))
    assert is_outage(type("Hostile", (ConnectionError,), attributes)())


def test_every_listed_class_is_documented() -> None:
    """Each is in a row of the page's table that has its package; so are the codes that decide."""
    page = (ROOT / "docs/processors.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    of_package = {name: " ".join(row for row in rows if f"`{name}" in row.split("|")[1]) for name in PACKAGES}
    assert [name for name in LISTED if f"`{name.split('.')[1]}`" not in of_package[name.split(".")[0]]] == []
    assert [code for code in (*AWAY_GRPC_CODES, *AWAY_SQLSTATES) if f"`{code}" not in page] == []
