"""Tidegate: an event gateway for the edge that never loses or doubles what it acknowledged.

Each folder is a room, for what changes for one reason; its `__init__.py` says which. A room imports those before it
only: `base`, `config`, `intake`, `flow`, `observe`, `http`, `runtime`, `cli`. `docs/internals/development.md` tells
where a change begins, kind by kind.
"""

__version__ = "0.1.0"
