"""Bodies whose items each hold the secret that their sender was given, where others are signed."""

from collections.abc import Sequence
from typing import Any

import orjson

from server.base.refusal import Refusal, unauthorized
from server.intake.auth import token_matches
from server.intake.parse import Body
from server.intake.secret_members import SecretMember, rewritten


def proven(body: Body, secret: SecretMember, digests: Sequence[bytes]) -> Body | Refusal:
    """Return the body without its secrets if there are items and each has a right one, which is one of `digests`."""
    items = _items(body.value, secret)
    if not items:
        return unauthorized(f"signature: the body has no items in `{secret.list_name}`")
    for index, item in enumerate(items):
        found = item.get(secret.name) if isinstance(item, dict) else None
        if not isinstance(found, str):
            return unauthorized(f"signature: item {index} has no text in `{secret.name}`")
        if not token_matches(found.encode(), digests):
            return unauthorized(f"signature: the `{secret.name}` of item {index} is none of this source's secrets")
    return rewritten(body, secret.taken_out(body))


def filled(text: bytes, secret: SecretMember, value: str) -> bytes:
    """Return a body with this secret in each item that has none; as it is if it has no items."""
    try:
        parsed = orjson.loads(text)
    except ValueError:
        return text
    lacking = [item for item in _items(parsed, secret) if isinstance(item, dict) and secret.name not in item]
    for item in lacking:
        item[secret.name] = value
    return orjson.dumps(parsed) if lacking else text


def _items(parsed: Any, secret: SecretMember) -> Sequence[object]:
    items = parsed.get(secret.list_name) if isinstance(parsed, dict) else None
    return items if isinstance(items, list) else ()
