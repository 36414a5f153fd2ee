"""Text from elsewhere, made safe to show: nothing in it can drive a terminal or forge a line."""

TYPE_NAME = type.__dict__["__name__"].__get__
"""Gives the name of a class as it is, even if its metaclass would say something else, or raise."""

TYPE_NAME_CHARACTERS_MAX = 100
"""A name is for people; one that is made at run time may be of any length."""


def printable(text: str) -> str:
    """Return the text with every unprintable character escaped, line breaks included."""
    return text if text.isprintable() else "".join(map(_visible, text))


def one_line(text: str) -> str:
    """Return the text on one line: each run of white space becomes one space."""
    return " ".join(text.split())


def type_name(value: object) -> str:
    """Return the name of the type of a foreign object: valid Unicode of bounded length. Raises nothing."""
    return str.__str__(TYPE_NAME(type(value)))[:TYPE_NAME_CHARACTERS_MAX]


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
