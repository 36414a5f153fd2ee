"""What every file keeps: a test says a truth in name and docstring, only a hang ends a wait, type names are unique, and
a file of the product can be read at one sitting."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]

LINES_MAX = 300


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every test, after its place."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield f"{path.relative_to(TESTS)}: {node.name}", node


def test_every_test_says_what_it_checks() -> None:
    """Every test function has a docstring."""
    assert [place for place, node in functions() if not ast.get_docstring(node)] == []


def test_every_name_has_4_to_8_words() -> None:
    """A test's name says the truth in few words, and in more than a label has."""
    assert [place for place, node in functions() if not 4 <= len(node.name.split("_")) - 1 <= 8] == []


def test_no_wait_has_a_limit_of_its_own() -> None:
    """What waits does so until HANG_SECONDS: another number is one that a slow machine can reach."""
    limits = {"timeout", "fail_after", "settimeout", "wait"}
    found = []
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                given = [word.value for word in node.keywords if word.arg == "timeout"] + node.args * (name in limits)
                if any(isinstance(each, ast.Constant) and each.value not in (0, None) for each in given):
                    found.append(f"{path.relative_to(TESTS)}:{node.lineno}: {ast.unparse(node)}")
    assert found == []


def test_public_type_names_are_defined_once() -> None:
    """A class of the product whose name does not begin with an underscore has that name for itself."""
    names = Counter(
        node.name
        for folder in ("server", "storage")
        for path in (TESTS.parent / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert len(names) > 50
    assert [name for name, count in names.items() if count > 1] == []


def test_no_product_file_exceeds_its_lines() -> None:
    """A file of the product has at most LINES_MAX lines: what is longer changes for more than one reason."""
    found = {
        path.relative_to(TESTS.parent).as_posix(): len(path.read_text().splitlines())
        for folder in ("server", "storage")
        for path in (TESTS.parent / folder).rglob("*")
        if path.suffix in {".py", ".js", ".css", ".html"} and "vendor" not in path.parts
    }
    assert len(found) > 50
    assert {name: lines for name, lines in found.items() if lines > LINES_MAX} == {}
