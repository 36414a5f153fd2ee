"""Stores of older formats: read, and converted to the present one."""
