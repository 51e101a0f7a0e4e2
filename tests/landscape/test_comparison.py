"""The page that compares us with Landscape's client names tests that are there, for every fault and every limit."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "compared-with-landscape.md").read_text()
FAULTS = [f"L{number}" for number in range(1, 17)]
LIMITS = [f"D{number}" for number in range(1, 10)]


def row(name: str) -> str:
    (found,) = re.finditer(rf"^\| {name} \|.*$", PAGE, re.MULTILINE)
    return found.group()


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_fault_and_limit_has_its_test() -> None:
    """No row is without one."""
    assert [name for name in (*FAULTS, *LIMITS) if not re.search(r"`tests/\S+::\w+`", row(name))] == []


def test_named_tests_exist() -> None:
    """Each in the file where the page says that it is."""
    named = re.findall(r"`(tests/\S+)::(\w+)`", PAGE)

    assert [f"{file}::{name}" for file, name in named if name not in functions(ROOT / file)] == []
    assert len(named) > 30
