"""Access control of the admin side: a head in, a refusal or None out. No I/O.

Without a token the only protection is that other hosts cannot reach loopback. A browser can, on behalf of any page that
it shows. So a Host that a page's owner could point at loopback is refused, as is a foreign Origin, and a POST must have
a type that no form can send.
"""

import hashlib
import ipaddress
import re

from server.base.refusal import UNAUTHORIZED, Refusal, refuse
from server.http.head import Fields
from server.intake.auth import token_matches, token_of

OPEN_PATHS = ("/livez", "/readyz", "/")
"""Answered without a token: health probes have none, and a page that asks for it comes before it."""
OPEN_FOLDER = "/page/"
"""What the page is made of: files that hold no data."""

WRONG_TOKEN = refuse(UNAUTHORIZED.code, "wrong or missing admin token")
WRONG_HOST = refuse("forbidden", "without an admin token, the Host must be localhost or an IP address")
WRONG_ORIGIN = refuse("forbidden", "requests from another origin are refused")
WRONG_TYPE = refuse("unsupported_media_type", "the body must be application/json")

_PORT = re.compile(r":[0-9]*$")


def check(method: str, path: str, fields: Fields, token: bytes) -> Refusal | None:
    """Return why this request is refused; None if it is not. `token` is b"" if none is set."""
    if token:
        digests = (hashlib.sha256(token).digest(),)
        if not is_open(path) and not token_matches(token_of(fields.only(b"authorization")), digests):
            return WRONG_TOKEN
    elif not _is_local(fields.only(b"host")):
        return WRONG_HOST
    if not _is_own_origin(fields):
        return WRONG_ORIGIN
    if method == "POST" and not _is_json(fields.only(b"content-type")):
        return WRONG_TYPE
    return None


def is_open(path: str) -> bool:
    """Return whether this path is answered without a token."""
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDER)


def _is_local(host: bytes | None) -> bool:
    """Return whether this Host is localhost or an IP address. A client without one (HTTP/1.0) is not a browser."""
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


def _is_own_origin(fields: Fields) -> bool:
    origins = fields.all(b"origin")
    if not origins:
        return True
    host = (fields.only(b"host") or b"").lower()
    return len(origins) == 1 and origins[0].lower() in (b"http://" + host, b"https://" + host)


def _is_json(content_type: bytes | None) -> bool:
    return content_type is not None and content_type.partition(b";")[0].strip().lower() == b"application/json"
