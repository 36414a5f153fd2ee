"""Who may ask the admin side what: a head in, a refusal or nothing out. No I/O.

Without a token the only guard is that nobody else reaches loopback; a browser does, on behalf of any page that it
shows. So a name that a page's owner could point at loopback is no Host, another page's Origin is refused, and a POST
has a type that no form can send.
"""

import hashlib
import ipaddress
import re
from collections.abc import Sequence

from server.base.refusal import UNAUTHORIZED, Refusal, refuse
from server.intake.auth import token_matches, token_of

OPEN_PATHS = ("/livez", "/readyz")
"""Answered without a token: who asks for health has none."""

WRONG_TOKEN = refuse(UNAUTHORIZED.code, "wrong or missing admin token")
WRONG_HOST = refuse("forbidden", "without an admin token, the Host must be localhost or an IP address")
WRONG_ORIGIN = refuse("forbidden", "requests from another origin are refused")
WRONG_TYPE = refuse("unsupported_media_type", "the body must be application/json")

_PORT = re.compile(r":[0-9]*$")

Headers = Sequence[tuple[bytes, bytes]]


def judge(method: str, path: str, headers: Headers, token: bytes) -> Refusal | None:
    """Why this request is refused, if it is. `headers` have lower-case names; `token` is b"" where none is set."""
    if token:
        digests = (hashlib.sha256(token).digest(),)
        if path not in OPEN_PATHS and not token_matches(token_of(_only(headers, b"authorization")), digests):
            return WRONG_TOKEN
    elif not _is_local(_only(headers, b"host")):
        return WRONG_HOST
    if not _is_own_origin(headers):
        return WRONG_ORIGIN
    if method == "POST" and not _is_json(_only(headers, b"content-type")):
        return WRONG_TYPE
    return None


def _only(headers: Headers, name: bytes) -> bytes | None:
    """The one value of this header; None where it is missing, or there are several to choose from."""
    values = [value for key, value in headers if key == name]
    return values[0] if len(values) == 1 else None


def _is_local(host: bytes | None) -> bool:
    """A client without a Host (HTTP/1.0) is no browser."""
    if host is None:
        return True
    name = _PORT.sub("", host.decode("latin-1")).lower()
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    except ValueError:
        return False
    return True


def _is_own_origin(headers: Headers) -> bool:
    origins = [value for key, value in headers if key == b"origin"]
    if not origins:
        return True
    host = (_only(headers, b"host") or b"").lower()
    return len(origins) == 1 and origins[0].lower() in (b"http://" + host, b"https://" + host)


def _is_json(content_type: bytes | None) -> bool:
    return content_type is not None and content_type.partition(b";")[0].strip().lower() == b"application/json"
