"""What a route takes and answers, for `/openapi.json`: it stands at the view that answers, as a decorator.

    @operation("The delivery, with what became of each of its items.", {200: json_of("Delivery")}, ["not_found"])
    async def deliveries(delivery_id: str) -> Response: ...

The statuses of refusals come from their codes, by the table of `base/refusal.py`; the schemas that are named are in
`observe/schemas.py`. `http/admin/openapi.py` puts it all together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, TypeVar

from server.observe.json_schema import Schema, reference
from storage.frozen import frozen

View = TypeVar("View", bound=Callable[..., Any])

ATTRIBUTE = "operation"
"""Of a view: how it was described."""


@frozen
class Content:
    """The body of an answer or a request: its media type and its schema."""

    media_type: str
    schema: Schema


Answers = Mapping[int, Content | Sequence[Content]]
"""By status: one body, the several that there may be, or an empty sequence for none."""


@frozen
class Parameter:
    """One of the query. A route with its name in the path does not have it."""

    name: str
    words: str
    schema: Schema
    required: bool = False


@frozen
class Operation:
    """A view as it is described."""

    words: str
    answers: Answers
    """Those that are no refusals, by status."""
    codes: Sequence[str] = ()
    """Of its refusals, beside those that any request of its side may get."""
    query: Sequence[Parameter] = ()
    body: Content | None = None
    is_open: bool = False
    """Whether it needs no token."""
    headers: Mapping[str, Schema] = field(default_factory=dict)
    """That an answer which is no refusal may have."""


def operation(
    words: str,
    answers: Answers,
    codes: Sequence[str] = (),
    *,
    query: Sequence[Parameter] = (),
    body: Content | None = None,
    is_open: bool = False,
    headers: Mapping[str, Schema] | None = None,
) -> Callable[[View], View]:
    """Describe the view below, as `Operation` has it."""

    def describe(view: View) -> View:
        setattr(view, ATTRIBUTE, Operation(words, answers, codes, query, body, is_open, headers or {}))
        return view

    return describe


def json_of(name: str) -> Content:
    """Return JSON of the schema of this name."""
    return Content("application/json", reference(name))


LIVENESS = operation(
    "Whether the process works: only a restart would help if not.",
    {200: json_of("Liveness"), 503: json_of("Liveness")},
    is_open=True,
)
READINESS = operation(
    "Whether deliveries can be taken; with the reasons if not, and what there is to warn of.",
    {200: json_of("Readiness"), 503: json_of("Readiness")},
    is_open=True,
)
"""The routes that both sides have."""
