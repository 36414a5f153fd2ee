"""The journal in front of the store."""
