"""`frozen`: a dataclass that is frozen for the type checker, and costs nothing extra at run time.

A frozen dataclass of 14 fields takes 1.4 µs to build, since each field goes through `object.__setattr__`; one with
slots alone takes 0.55 µs. Millions of them are built, and mypy finds every assignment.
"""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def frozen(cls: type[T]) -> type[T]:
    """Make the class a dataclass with slots, whose fields are set once."""
    return dataclass(slots=True)(cls)
