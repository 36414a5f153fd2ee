"""The only code that changes the store."""
