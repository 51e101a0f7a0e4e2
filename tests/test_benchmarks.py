"""The benchmarks that `make bench` runs exist and fit together; what they measure is their own matter."""

import ast
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def _names() -> list[str]:
    tree = ast.parse((BENCHMARKS / "run.py").read_text())
    (found,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NAMES"
    )
    names: list[str] = list(ast.literal_eval(found))
    return names


def test_each_benchmark_gives_a_result() -> None:
    """One that gives anything else would spoil the table of all, after minutes."""
    assert _names()
    for name in _names():
        tree = ast.parse((BENCHMARKS / f"{name}.py").read_text())
        (measure,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "measure")
        assert measure.returns is not None, name
        assert ast.unparse(measure.returns) == "Result", name
        assert [argument.arg for argument in measure.args.kwonlyargs] == ["quick"], name
