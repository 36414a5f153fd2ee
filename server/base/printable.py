"""Text that came from elsewhere, made fit to be shown: nothing in it can drive a terminal or forge a line."""


def printable(text: str) -> str:
    """Return the text with every character escaped that cannot be printed, line breaks included."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
