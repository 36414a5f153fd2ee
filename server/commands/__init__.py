"""The commands: one file for each group of them. `add` puts them into the parser; `run` returns the exit code."""
