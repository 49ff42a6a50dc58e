"""The recomputation shares no line with what it judges."""

import ast
from pathlib import Path

JUDGED = {"settlement", "attribution", "database", "api", "cli", "fakebank", "benchmarks"}


def test_the_oracle_imports_nothing_that_it_judges() -> None:
    here = Path(__file__).parent
    modules = sorted(here.glob("*.py"))
    assert {"events.py", "division.py", "ledger.py", "recompute.py"} <= {module.name for module in modules}
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{module.name}: write imports in full"
                names = [node.module or ""]
            else:
                continue
            for name in names:
                assert name.split(".")[0] not in JUDGED, f"{module.name} imports {name}"
                assert not name.startswith("tests.") or name.startswith("tests.settlement.oracle"), name


def test_the_oracle_computes_in_integers() -> None:
    for module in Path(__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            assert not isinstance(node, ast.Div), f"{module.name} divides"
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), module.name
