"""Exit codes of the commands."""

ERROR = 1
"""The command failed, or what was asked for does not exist."""

MISTAKE = 2
"""The arguments or the configuration cannot be used."""

INTERRUPTED = 130
"""As a shell reports a program that SIGINT ended."""

BROKEN_PIPE = 141
"""As a shell reports a program that SIGPIPE ended."""
