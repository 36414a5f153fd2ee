"""The LMDB environment: opened, locked, its errors translated, its file checked."""
