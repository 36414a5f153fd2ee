"""The deduplication index: which ids and bodies were processed."""
