"""Text from elsewhere, made safe to show: nothing in it can drive a terminal or forge a line."""


def printable(text: str) -> str:
    """Return the text with every unprintable character escaped, line breaks included."""
    return text if text.isprintable() else "".join(map(_visible, text))


def one_line(text: str) -> str:
    """Return the text on one line: each run of white space becomes one space."""
    return " ".join(text.split())


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
