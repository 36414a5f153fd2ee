"""Where a batch has its items: the body is their array, or an object that has it under a name."""

from collections.abc import Mapping
from typing import Any

from server.base.source import Source
from server.intake.schemes import secret_of
from server.intake.sdk_bodies import WRITE_KEY

_LISTS: Mapping[str, str] = {"segment": WRITE_KEY.list_name, "webhook": "value"}
"""By the type of the source. Of webhooks only those of microsoft-graph have one; what is stored does not say a name, so
that another scheme with another name needs that first."""


def list_name(source: Source) -> str:
    """Return the name under which its bodies have their items; "" if a batch of its is an array."""
    if source.type == "segment":
        return _LISTS["segment"]
    secret = secret_of(source)
    return "" if secret is None else secret.list_name


def stored_list_name(source_type: str) -> str:
    """Return the name under which a body that was stored as a batch, and is not an array, has its items."""
    return _LISTS[source_type]


def stored_items(source_type: str, parsed: Any) -> list[Any]:
    """Return the items of a body that was stored as a batch."""
    items: list[Any] = parsed if isinstance(parsed, list) else parsed[stored_list_name(source_type)]
    return items


def with_items(source_type: str, parsed: Any, items: list[Any]) -> Any:
    """Return a body that was stored as a batch, with these items alone."""
    return items if isinstance(parsed, list) else parsed | {stored_list_name(source_type): items}
