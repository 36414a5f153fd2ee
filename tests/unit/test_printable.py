"""Text from elsewhere, made safe to show."""

from server.base.printable import one_line, printable


def test_an_error_fits_on_one_line() -> None:
    """Line breaks, tabs and indentation of an error's text become single spaces."""
    assert one_line("  expected:\n\tan int,\r\n  not a  str\n") == "expected: an int, not a str"
    assert one_line("") == ""


def test_unprintable_characters_are_shown_escaped() -> None:
    """What could drive a terminal or break a line is escaped; other text stays as it is."""
    assert printable("caf\u00e9 \x1b[2J\n") == "caf\u00e9 \\x1b[2J\\n"
