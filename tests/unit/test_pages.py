"""The README and the pages are true: what they name exists, and what exists is in them."""

import re
import tomllib

import pytest
from markdown.extensions.toc import slugify

from server.base.refusal import STATUS
from server.cli.main import COMMANDS
from server.config.settings import SECTIONS
from server.config.source_settings import SOURCE_SETTINGS
from server.config.values import settings_of
from server.http.fast.socket import STATES, State
from storage.codec.records import FORMAT
from storage.deliveries import Deliveries
from storage.lmdb_store.making import DATABASES
from storage.statuses import COUNTERS, RULES, EventStatus
from tests.support.diagrams import PICTURES, diagrams, path_of
from tests.support.pages import DOCS, ROOT, Page, all_text, page, pages

ALL = all_text()
PAGES = [pytest.param(each, id=each.name) for each in pages()]

README_LINES_MAX = 180
CELL_CHARACTERS_MAX = 120


def test_readme_has_180_lines_at_most() -> None:
    """The README has at most 180 lines."""
    assert len(page("README.md").text.splitlines()) <= README_LINES_MAX


def test_home_page_promises_what_readme_promises() -> None:
    """The first of the built pages has the README's promises, and the heads of the list of who it is not for."""
    readme, home = page("README.md").text, page("docs/index.md").text
    promises = readme.partition("**What it promises**\n\n")[2].partition("\n## ")[0]
    assert promises
    assert f"## What it promises\n\n{promises}\n" in home
    not_for = re.findall(r"^- \*\*(.+?)\*\*", readme.partition("\n## Who it is not for\n")[2], re.MULTILINE)
    assert not_for
    assert "## Who it is not for\n\n" + "".join(f"- {each}\n" for each in not_for) + "\n" in home


@pytest.mark.parametrize("each", PAGES)
def test_cells_of_tables_are_short(each: Page) -> None:
    """No cell of a table has more than 120 characters: what needs more is a heading or a list."""
    assert [cell for cell in each.cells() if len(cell) > CELL_CHARACTERS_MAX] == []


@pytest.mark.parametrize("each", PAGES)
def test_links_of_pages_lead_somewhere(each: Page) -> None:
    """Every relative link names a file and, after a #, a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", each.prose):
        if target.startswith("https://"):
            continue
        path, _, heading = target.partition("#")
        found = each.path.parent / path if path else each.path
        assert found.exists(), target
        if heading:
            assert heading in headings(found.read_text()), target


def headings(text: str) -> set[str]:
    """Return the anchors of a page."""
    lines = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```\n", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {slugify(re.sub(r"[`*]", "", line), "-") for line in lines}


def test_settings_that_pages_name_exist() -> None:
    """Every key in a TOML block, and every `section.key` in the text, is a setting."""
    known = {name: set(settings_of(section)) for name, section in SECTIONS.items()}
    named = re.findall(r"`(server|storage|limits|queue|dedup)\.([a-z_]+)\b(?!\.py)", ALL)
    assert named
    assert [f"{section}.{key}" for section, key in named if key not in known[section]] == []
    for block in (block for each in pages() for block in each.blocks("toml")):
        for section, table in tomllib.loads(block).items():
            if section == "sources":
                assert all(each.keys() <= SOURCE_SETTINGS.keys() for each in table.values())
            else:
                assert table.keys() <= known[section]


def test_every_command_is_in_the_pages() -> None:
    """The page about commands has every command that --help lists."""
    text = page("docs/commands.md").text
    assert [row.name for row in COMMANDS if f"\n`tidegate {row.name}" not in text] == []


def test_every_code_is_in_the_page_of_answers() -> None:
    """Every code that an answer may have is in the table, beside its status, and is explained."""
    text = page("docs/answers.md").text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    for code, status in STATUS.items():
        [row] = [row for row in rows if f"`{code}`" in row]
        assert str(status) in row.split("|")[1], code
        assert re.search(rf"^`[a-z_`, ]*\b{code}`.*\n: ", text, re.MULTILINE), code


def test_reasons_and_warnings_of_readiness_are_explained() -> None:
    """Whatever /readyz may name has a heading in the page about operations."""
    code = (ROOT / "server" / "observe" / "health.py").read_text()
    warnings = re.findall(r'^ +(?:yield )?"([a-z_]+)",', code, re.MULTILINE)
    reasons = re.findall(r'^[A-Z_]+ = refuse\("([a-z_]+)"', code, re.MULTILINE)
    assert warnings
    assert reasons
    text = page("docs/operations.md").text
    assert [name for name in warnings if f"\n### warning `{name}`\n" not in text] == []
    assert [name for name in reasons if f"\n### `{name}`\n" not in text] == []


def test_the_page_shows_the_alerts() -> None:
    """The page about metrics shows the file of rules as it is, and the rules name metrics that the page explains."""
    text, rules = page("docs/metrics.md").text, (ROOT / "config" / "alerts.yml").read_text()
    assert rules in page("docs/metrics.md").blocks("yaml")
    table = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `tidegate_")}
    named = {name.removesuffix("_bucket") for name in re.findall(r"\btidegate_\w+", rules)}
    assert len(named) > 8
    assert named - table == set()


def test_files_that_pages_name_exist() -> None:
    """Every path of the repository in the text is there: modules, tests, files of the configuration."""
    paths = re.findall(r"`((?:server|storage|tests|bench|config|docs)/[\w/.-]*)(?:::\w+)?`", ALL)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_tests_that_pages_name_exist() -> None:
    """Every test in the text, as those that guard the invariants, is there; in its file, if one is named with it."""
    code = {path: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    named = re.findall(r"(tests/[\w/.-]+)?::(test_\w+)", ALL)
    assert named
    for path, name in named:
        text = code[ROOT / path] if path else "".join(code.values())
        assert f"def {name}(" in text, name


def test_every_diagram_has_its_picture() -> None:
    """Each diagram was drawn from the text that the page has now, and there is no other picture."""
    wanted = {path_of(text).name for text in diagrams()}
    assert wanted
    assert {path.name for path in PICTURES.iterdir()} == wanted


def edges(first: str) -> set[tuple[str, str]]:
    """Return the edges of the diagram of states that has this edge."""
    [text] = [text for text in diagrams() if f"{first}\n" in text or f"{first}:" in text]
    return set(re.findall(r"^ +(\S+) --> (\S+?)(?::.*)?$", text, re.MULTILINE))


def test_diagram_of_events_is_the_status_table() -> None:
    """The diagram of an event's states has the edges that the table of statuses allows, but for those to itself."""
    allowed = {
        ("[*]" if before is None else before.name, after.name)
        for after, rule in RULES.items()
        for before in rule.follows
        if before is not after
    }
    assert edges("DEAD --> PENDING") == allowed


def test_diagram_of_connections_is_their_state_table() -> None:
    """The diagram of a connection's states has the edges that their table allows, but for closing at once."""
    open_states = [state for state in State if state is not State.CLOSED]
    allowed = {
        (state.name, after.name) for state in open_states for after in STATES[state].following if after in open_states
    }
    assert edges("HEAD --> BODY") == allowed | {("[*]", open_states[0].name), (State.LINGER.name, "[*]")}


def test_page_of_the_store_format_is_complete() -> None:
    """It names the format, every database, the number of every status, the totals and the columns of deliveries."""
    text = page("docs/internals/store-format.md").text
    assert f"Format `{FORMAT.decode()}`" in text
    keys = "a name|first number|a counter|a kind, a level, a number"
    assert re.findall(rf"^\| `([a-z_]+)` \| (?:{keys}) ", text, re.MULTILINE) == list(DATABASES)
    assert ", ".join(f"{each.value} {each.label}" for each in EventStatus) in text
    assert f"then these counts: {', '.join(COUNTERS).replace('_', ' ')}." in " ".join(text.split())
    columns = re.findall(r"^\| ([0-9]+) \| ", text, re.MULTILINE)
    # without the source's id, which is in the head; with the suffix and the count of all events
    assert columns == [str(place) for place in range(len(Deliveries.__annotations__) - 1 + 2)]


def test_every_page_is_in_the_table_of_contents() -> None:
    """The navigation names every page, in `mkdocs.yml`; the overview of decisions names every decision."""
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    assert sorted(re.findall(r"[\w/-]+\.md", nav)) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
    decisions = DOCS / "internals" / "decisions"
    listed = re.findall(r"\(([\w-]+\.md)\)", (decisions / "index.md").read_text())
    assert sorted([*listed, "index.md"]) == sorted(path.name for path in decisions.iterdir())
