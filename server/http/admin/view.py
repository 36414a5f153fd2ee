"""What the views of the admin side share: the request's query, and ending with a refusal."""

from typing import TypeVar, cast

from quart import request

from server.base.refusal import Refusal
from server.http.asgi.body import Scope

T = TypeVar("T")


class Refused(Exception):
    """Ends a view with this refusal. Raised by views alone; what they call returns refusals."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def unwrap(found: T | Refusal) -> T:
    """Return what was found, for a view; raise `Refused` if it is a refusal."""
    if isinstance(found, Refusal):
        raise Refused(found)
    return found


def query_string() -> bytes:
    """Return the query of the current request, as it came."""
    return cast(bytes, scope()["query_string"])


def scope() -> Scope:
    """Return the current request as ASGI has it."""
    return cast(Scope, request.scope)
