"""Bytes on disk: every record as a pair of encode and decode."""
