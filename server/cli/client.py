"""An HTTP client for a Tidegate on this host, over one connection."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import orjson

from server import __version__
from server.cli.common import CommandFailed
from server.cli.exit_codes import ERROR, MISTAKE
from server.config.load import ServerConfig, load_section
from server.config.values import Address

LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - a server that listens there is on loopback too


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """The status and JSON object of an answer."""

    status: int
    value: Mapping[str, Any]


class NoAnswer(Exception):
    """The connection broke, or the answer was not a Tidegate's."""


class NoServer(NoAnswer):
    """Nothing listens at the address."""


class Client:
    """Connects on first use."""

    def __init__(self, key: str, address: Address, timeout_seconds: float | None) -> None:
        if address.port == 0:
            raise CommandFailed(MISTAKE, f"{key}: port 0 means any free one, so it is not known where to send")
        host = LOOPBACK_OF.get(address.host, address.host)
        self._address = Address(host, address.port)
        self._connection = HTTPConnection(host, address.port, timeout=timeout_seconds)

    def post(self, path: str, body: bytes, headers: Mapping[str, str], keys: Collection[str]) -> ServerAnswer:
        """Send a request; return its answer, which has these keys if it is a 200, else code and message.

        Raises NoAnswer; the next request then opens a new connection.
        """
        connection = self._connection
        try:
            if connection.sock is None:
                self._connect()
            connection.request("POST", path, body, {"user-agent": f"tidegate/{__version__}"} | dict(headers))
            response = connection.getresponse()
            value = orjson.loads(response.read())
        except (OSError, HTTPException, orjson.JSONDecodeError) as error:
            connection.close()
            raise NoAnswer(f"{type(error).__name__}: {error}") from error
        expected = keys if response.status == 200 else ("code", "message")
        if not isinstance(value, dict) or not all(key in value for key in expected):
            raise NoAnswer(f"what answers {response.status} on {self._address} is not a Tidegate")
        return ServerAnswer(response.status, value)

    def close(self) -> None:
        self._connection.close()

    def _connect(self) -> None:
        try:
            self._connection.connect()
        except OSError as error:
            words = f"nobody listens on {self._address} ({error.strerror or error}); is the server running?"
            raise NoServer(words) from error


class AdminClient:
    """A context manager that asks the process which writes to the store, through the admin side of that server."""

    def __init__(self, config: Path) -> None:
        server = load_section(config, ServerConfig)
        self._headers = {"content-type": "application/json"}
        if server.admin_token:
            self._headers["authorization"] = f"Bearer {server.admin_token.decode('latin-1')}"
        self._client = Client("server.admin_bind", server.admin_bind, None)  # as long as it needs

    def __enter__(self) -> "AdminClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def post(
        self, path: str, command: Mapping[str, object], keys: Collection[str], so_far: str = ""
    ) -> Mapping[str, Any]:
        """Return its answer. `so_far`: what was done before, said if this is refused. Raises CommandFailed."""
        try:
            answer = self._client.post(path, orjson.dumps(command), self._headers, keys)
        except NoAnswer as error:
            raise CommandFailed(
                ERROR, f"another process writes to the store, and it cannot be asked: {error}"
            ) from None
        if answer.status != 200:
            raise CommandFailed(ERROR, f"the server refused: {answer.status} {answer.value['message']}{so_far}")
        return answer.value
