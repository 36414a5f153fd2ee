"""A way of signing, as a row of the table of `schemes.py`."""

from collections.abc import Callable
from dataclasses import dataclass

from server.base.source import SchemeName
from server.intake.claims import Message, Reading, SignatureHeaders
from server.intake.secret_members import SecretMember


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way of signing, as its vendor documents it."""

    name: SchemeName
    headers: tuple[bytes, ...]
    """All that it reads."""
    read: Callable[[SignatureHeaders], Reading]
    sign: Callable[[Message], dict[str, str]]
    """Returns the headers that its sender would send with a message."""
    secret: SecretMember | None = None
    """What each item of a body has instead of a signature; None if bodies are signed."""
    is_dated: bool = False
    """Whether a timestamp is signed, so that an old request can be told from a new one."""
    key: Callable[[bytes], bytes] = bytes
    """Makes the key of a secret. Raises ValueError if it cannot be one; the message does not hold it."""
    event_id_from: tuple[str, ...] = ()
    """Where its events have their ids, if the source does not say: as in `[sources.X] event_id_from`."""
    event_type_from: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    """What the names of its headers may begin with; paths are written with the first."""
    signed_headers: frozenset[bytes] = frozenset()
    """Those headers with an id or a type that are part of what is signed."""
    can_send_token: bool = False
    """Whether its senders can be told to send an Authorization header too."""
