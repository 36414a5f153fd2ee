"""Everything that is read from the store, in short transactions."""
