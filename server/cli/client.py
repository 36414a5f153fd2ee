"""An HTTP client for a Tidegate on this host, over one connection."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import orjson

from server import __version__
from server.cli.exit_codes import ERROR, MISTAKE
from server.cli.failure import CommandFailed
from server.config.load import ServerConfig, load_section
from server.config.values import Address

LOOPBACK_OF = {"0.0.0.0": ("127.0.0.1",), "::": ("::1", "127.0.0.1")}  # noqa: S104 - asked for, not bound
"""Where a server that listens everywhere is found on this host; IPv4 alone if the host has nothing else."""


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """The status and JSON object of an answer."""

    status: int
    value: Mapping[str, Any]


def refused_code(status: int) -> int:
    """Return the exit code of a command that the server refuses so: whether its arguments cannot be used at all."""
    return MISTAKE if status == 400 else ERROR


class NoAnswer(Exception):
    """The connection broke, or the answer was not a Tidegate's."""


class NoServer(NoAnswer):
    """Nothing listens at the address."""


class Client:
    """Connects on first use."""

    def __init__(self, key: str, address: Address, timeout_seconds: float | None) -> None:
        if address.port == 0:
            raise CommandFailed(MISTAKE, f"{key}: port 0 means any free one, so it is not known where to send")
        self._address = address
        self._hosts = LOOPBACK_OF.get(address.host, address.hosts)
        self._timeout_seconds = timeout_seconds
        self._connection: HTTPConnection | None = None

    def get(self, path: str, headers: Mapping[str, str], keys: Collection[str]) -> ServerAnswer:
        """As `post`."""
        return self._ask("GET", path, None, headers, keys)

    def post(self, path: str, body: bytes, headers: Mapping[str, str], keys: Collection[str]) -> ServerAnswer:
        """Send a request; return its answer, which has these keys if it is a 200, else code and message.

        Raises NoAnswer; the next request then opens a new connection.
        """
        return self._ask("POST", path, body, headers, keys)

    def fetch(self, path: str, headers: Mapping[str, str], answer_seconds: float | None = None) -> tuple[int, bytes]:
        """Return status and body of whatever answers. `answer_seconds`: the longest that this answer may take, if it is
        another time than the client's. Raises NoAnswer, as `post`."""
        return self._exchange("GET", path, None, headers, answer_seconds)

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], keys: Collection[str]
    ) -> ServerAnswer:
        status, text = self._exchange(method, path, body, headers)
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            self.close()
            raise NoAnswer(f"{type(error).__name__}: {error}") from error
        expected = keys if status == 200 else ("code", "message")
        if not isinstance(value, dict) or not all(key in value for key in expected):
            raise NoAnswer(f"what answers {status} on {self._address} is not a Tidegate")
        return ServerAnswer(status, value)

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        answer_seconds: float | None = None,
    ) -> tuple[int, bytes]:
        if self._connection is None or self._connection.sock is None:  # the first request, or the server closed it
            self._connection = self._connect()
        connection = self._connection
        seconds = self._timeout_seconds if answer_seconds is None else answer_seconds
        connection.sock.settimeout(seconds)
        try:
            connection.request(method, path, body, {"user-agent": f"tidegate/{__version__}"} | dict(headers))
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError as error:
            self.close()
            within = "" if seconds is None else f" within {seconds:g} s"
            raise NoAnswer(f"{self._address} does not answer{within}") from error
        except (OSError, HTTPException) as error:
            self.close()
            raise NoAnswer(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> HTTPConnection:
        """Return a connection to the first address that is listened on."""
        words = ""
        for host in self._hosts:
            connection = HTTPConnection(host, self._address.port, timeout=self._timeout_seconds)
            try:
                connection.connect()
            except OSError as error:
                place = Address(host, self._address.port)
                words = words or f"nobody listens on {place} ({error.strerror or error}); is the server running?"
            else:
                return connection
        raise NoServer(words)


class AdminClient:
    """A context manager that asks the process which writes to the store, through the admin side of that server."""

    def __init__(self, config: Path, timeout_seconds: float | None = None, *, why: str = "") -> None:
        """`timeout_seconds`: the longest that connecting, or an answer, may take; None: as long as it needs. `why` it
        must answer: by default since the store is in use."""
        self._why = why or "another process writes to the store, and it"
        server = load_section(config, ServerConfig)
        self._headers = {"content-type": "application/json"}
        if server.admin_token:
            self._headers["authorization"] = f"Bearer {server.admin_token.decode('latin-1')}"
        self._client = Client("server.admin_bind", server.admin_bind, timeout_seconds)

    def __enter__(self) -> "AdminClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the next request opens another."""
        self._client.close()

    def fetch(self, path: str, answer_seconds: float | None = None) -> tuple[int, bytes]:
        """Return status and body of whatever answers, as `Client` does. Raises NoAnswer."""
        return self._client.fetch(path, self._headers, answer_seconds)

    def get(self, path: str, keys: Collection[str]) -> Mapping[str, Any]:
        """Return its answer. Raises CommandFailed."""
        return self._answer(lambda: self._client.get(path, self._headers, keys))

    def post(
        self, path: str, command: Mapping[str, object], keys: Collection[str], so_far: str = ""
    ) -> Mapping[str, Any]:
        """Return its answer. `so_far`: what was done before, said if this is refused. Raises CommandFailed."""
        return self._answer(lambda: self._client.post(path, orjson.dumps(command), self._headers, keys), so_far)

    def _answer(self, ask: Callable[[], ServerAnswer], so_far: str = "") -> Mapping[str, Any]:
        try:
            answer = ask()
        except NoAnswer as error:
            raise CommandFailed(ERROR, f"{self._why} cannot be asked: {error}") from None
        if answer.status != 200:
            words = f"the server refused: {answer.status} {answer.value['message']}{so_far}"
            raise CommandFailed(refused_code(answer.status), words)
        return answer.value
