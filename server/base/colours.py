"""Whether a stream is to have colours."""

import os
from typing import TextIO


def has_colours(stream: TextIO) -> bool:
    """Return whether the stream is a terminal that shows colours, and they are wanted."""
    return stream.isatty() and are_wanted()


def are_wanted() -> bool:
    """Return whether nobody said NO_COLOR, and the terminal, if there is one, has colours."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
