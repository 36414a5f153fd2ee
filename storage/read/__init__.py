"""All reading from the store, in short transactions."""
