"""Tidegate: an event gateway for the edge that never loses or doubles what it acknowledged."""

__version__ = "0.1.0"
