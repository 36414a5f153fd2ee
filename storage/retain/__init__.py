"""Retention: what leaves the store, planned by reading (`planner.py`), done by the writer (`remove.py`)."""
