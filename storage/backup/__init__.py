"""A copy of a store, made beside its server."""
