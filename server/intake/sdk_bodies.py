"""Bodies on the routes of SDKs: the write key is found and taken out, and one event gets the type of its route."""

from server.base.refusal import Refusal
from server.intake.parse import Body
from server.intake.secret_members import SecretMember, rewritten

WRITE_KEY = SecretMember("writeKey", "batch", in_body=True)

_BLANKS = b" \t\n\r"


def key_in(parsed: object) -> bytes:
    """Return the key that a body tells: its own, or else its first item's; b"" if there is none."""
    for each in WRITE_KEY.holders(parsed)[:2]:
        found = each.get(WRITE_KEY.name)
        if found is not None:
            return found.encode() if isinstance(found, str) else b""
    return b""


def prepared(body: Body, kind: str) -> Body | Refusal:
    """Return the body without the keys of batch and items; one event without a type gets this one, if it is not ""."""
    made = WRITE_KEY.taken_out(body)
    objects = WRITE_KEY.holders(body.value)
    if kind and objects and all(objects[0].get(name) is None for name in ("batch", "type")):
        made = _with_type(made, kind, is_empty=not objects[0])
        objects[0]["type"] = kind
    return rewritten(body, made)


def _with_type(text: bytes, kind: str, *, is_empty: bool) -> bytes:
    """Return the text of an object with this type, at its end: there it counts even beside another one, of null."""
    return b'%b%b"type":"%b"}' % (text.rstrip(_BLANKS)[:-1], b"" if is_empty else b",", kind.encode())
