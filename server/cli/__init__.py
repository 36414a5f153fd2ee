"""The `tidegate` command: a file for each command, and what commands share."""
