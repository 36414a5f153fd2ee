"""The page about senders has the figures of the newest run of the tests with real SDKs."""

from collections import defaultdict

from tests.support.conditions import CONDITIONS
from tests.support.pages import ROOT
from tests.support.senders_table import bodies_table, conditions_table, load

PAGE = ROOT / "docs" / "senders" / "sdks.md"
BEGIN = "<!-- From here: written by `python -m tests.unit.test_senders_page`. -->\n"
END = "<!-- To here. -->\n"


def figures() -> str:
    """Return the part of the page that is generated; `python -m tests.unit.test_senders_page` writes it."""
    kept = load()
    tables = f"{bodies_table(kept.rows)}\n\n{conditions_table(kept.rows)}"
    return f"\n{tables}\n\nMeasured on {kept.day}. Machine: {kept.machine}.\n\n"


def test_page_has_the_newest_figures() -> None:
    """The tables are made of the results that are kept."""
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    assert before
    assert begin
    assert rest.partition(END)[0] == figures()


def test_results_have_every_sdk_and_condition() -> None:
    """Of each SDK, version and way to deliver there is one row for each condition, and nothing was lost in any."""
    found = defaultdict(list)
    for each in load().rows:
        found[each.package, each.version, each.way].append(each.condition)
        assert each.events == each.sent == each.kept > 0
    assert len(found) == 8
    assert all(conditions == list(CONDITIONS) for conditions in found.values())


if __name__ == "__main__":
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + begin + figures() + END + rest.partition(END)[2])
