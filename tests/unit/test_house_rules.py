"""What every file keeps: a test says in one sentence what it checks, a public type has its name for itself."""

import ast
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_every_test_says_what_it_checks() -> None:
    """Every test function has a docstring."""
    silent = [
        f"{path.relative_to(TESTS)}: {node.name}"
        for path in sorted(TESTS.rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        if not ast.get_docstring(node)
    ]
    assert silent == []


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
