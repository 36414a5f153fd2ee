"""What the views of the admin side share: the request's query, and ending with a refusal."""

from collections.abc import Callable
from typing import TypeVar, cast

from quart import request

from server.base.refusal import Refusal, refuse
from server.http.asgi.body import Scope

T = TypeVar("T")
NO_SOURCE = refuse("not_found", "there is no source of this id")
IsSource = Callable[[str], bool]
"""Whether the configuration or the store has a source of this id."""


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


def check_source(source_id: str | None, is_source: IsSource) -> None:
    """End the view if there is no source of this id: nothing found would look as if all were well. None: all."""
    if source_id is not None and not is_source(source_id):
        raise Refused(NO_SOURCE)


def query_string() -> bytes:
    """Return the query of the current request, as it came."""
    return cast(bytes, scope()["query_string"])


def scope() -> Scope:
    """Return the current request as ASGI has it."""
    return cast(Scope, request.scope)
