"""The commands as people type them: a file for each, which imports nothing that does the work."""
