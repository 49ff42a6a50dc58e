"""Dependencies are bounded, pinned, justified, and name no host."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


OURS = ("database", "attribution", "settlement", "api", "cli", "benchmarks", "fakebank", "tests")
PARTS = {
    # Imported by name, and released together with a dependency that declares them.
    "grimp": "import-linter",
    "kombu": "celery",
    "starlette": "fastapi",
}


def _normal(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["test"]]


@pytest.fixture(scope="module")
def names(requirements: list[str]) -> set[str]:
    return {_normal(re.split(r"[\[<>=]", requirement)[0]) for requirement in requirements}


@pytest.fixture(scope="module")
def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (
        re.fullmatch(r"([\w.-]+?)([<>=]=?.*)", line) for line in lines if line and not line.startswith("#")
    )
    return {_normal(pair[1]): pair[2] for pair in pairs if pair}


def test_every_dependency_has_a_lower_bound(requirements: list[str]) -> None:
    assert not [requirement for requirement in requirements if ">=" not in requirement]


def test_every_dependency_is_justified(names: set[str]) -> None:
    rows = re.findall(
        r"^\| ([\w-]+)(?: \(\w+\))? \| \S", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE
    )
    assert {_normal(row) for row in rows} - {"package"} == names


def test_every_dependency_is_pinned_and_torch_is_a_range(
    names: set[str], constraints: dict[str, str]
) -> None:
    assert names <= constraints.keys()
    assert constraints.pop("torch") == ">=2.13,<2.14"  # 2.13.0 (CUDA) and 2.13.0+cpu both satisfy it
    assert not [name for name, pin in constraints.items() if not re.fullmatch(r"==[\w.]+", pin)]


def test_constraints_name_no_host_and_no_path() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert not [line for line in lines if re.search(r"[/@]|^-", line)]


def test_every_import_is_of_a_declared_dependency(names: set[str]) -> None:
    distributions = packages_distributions()
    undeclared = set()
    for path in (path for package in OURS for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import():
                    modules = [alias.name for alias in node.names]
                case ast.ImportFrom(module=str(module), level=0):
                    modules = [module]
                case _:
                    continue
            for module in {module.split(".")[0] for module in modules} - {*OURS, *sys.stdlib_module_names}:
                providers = [PARTS[module]] if module in PARTS else distributions.get(module, [module])
                owners = {_normal(name) for name in providers}
                if not owners & names:
                    undeclared.add(f"{path.relative_to(ROOT)} imports {module} of {', '.join(owners)}")
    assert not undeclared
