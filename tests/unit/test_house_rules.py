"""What every file of tests keeps: each test says in one sentence the truth that it checks."""

import ast
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
