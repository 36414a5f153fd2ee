"""The deduplication index: which ids were processed."""
