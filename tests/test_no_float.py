"""Money is integers: nothing under settlement/ may write, convert to, annotate or divide into a float."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MONEY = ROOT / "settlement"

FLOAT_TYPES = {"Float", "REAL", "Real", "Double", "DOUBLE", "DOUBLE_PRECISION", "float32", "float64"}
FLOAT_MODULES = {"numpy", "torch", "statistics"}
SQL_FLOAT = re.compile(r"\b(float[48]?|double\s+precision|real)\b", re.IGNORECASE)
SQL_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


def _path_joins(tree: ast.AST) -> set[int]:
    """Ids of the `/` that join paths and divide nothing: a chain of them with a string in it, `directory / "name"`."""
    joins: set[int] = set()
    for node in ast.walk(tree):
        chain = []
        link: ast.AST = node
        while isinstance(link, ast.BinOp) and isinstance(link.op, ast.Div):
            chain.append(link)
            link = link.left
        operands = [link, *(division.right for division in chain)]
        if chain and any(
            isinstance(operand, ast.JoinedStr)
            or (isinstance(operand, ast.Constant) and isinstance(operand.value, str))
            for operand in operands
        ):
            joins |= {id(division) for division in chain}
    return joins


def floats_in_python(source: str) -> Iterator[tuple[int, str]]:
    """Line number and reason of every float in a module's source.

    `isinstance(value, float)` is allowed: refusing a float is how one keeps them out.
    """
    tree = ast.parse(source)
    joins = _path_joins(tree)
    guards = {
        id(name)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "isinstance"
        for argument in call.args[1:]
        for name in ast.walk(argument)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=float() | complex() as value):
                yield node.lineno, f"the literal {value}"
            case ast.Name(id="float") if id(node) not in guards:
                yield node.lineno, "the type float"
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in FLOAT_TYPES:
                yield node.lineno, f"the type {name}"
            case ast.BinOp(op=ast.Div()) if id(node) not in joins:
                yield node.lineno, "a true division: use //, Fraction(a, b), or Path.joinpath for a path"
            case ast.AugAssign(op=ast.Div()):
                yield node.lineno, "a true division"
            case ast.Import(names=names):
                for alias in names:
                    if alias.name.split(".")[0] in FLOAT_MODULES:
                        yield node.lineno, f"an import of {alias.name}"
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in FLOAT_MODULES:
                yield node.lineno, f"an import of {module}"
            case _:
                pass


def floats_in_sql(source: str) -> Iterator[tuple[int, str]]:
    """Line number and reason of every floating-point type named in SQL outside comments."""
    # Comments are blanked and not cut, so that line numbers stay.
    bare = SQL_COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), source)
    for found in SQL_FLOAT.finditer(bare):
        yield bare.count("\n", 0, found.start()) + 1, f"the type {found.group()}"


def test_settlement_has_no_float() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {reason}"
        for pattern, find in (("*.py", floats_in_python), ("*.sql", floats_in_sql))
        for path in sorted(MONEY.rglob(pattern))
        for line, reason in find(path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "money is integers:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    "source",
    [
        "rate = 0.1",
        "x = float('1')",
        "def f(x: float) -> int: ...",
        "def f(x: 'int | None') -> list[float]: ...",
        "half = total / 2",
        "total /= 2",
        "c = mapped_column(Float)",
        "c = sa.REAL()",
        "import numpy as np",
        "from torch import nn",
        "map(float, values)",
    ],
)
def test_the_rule_finds_a_float(source: str) -> None:
    assert list(floats_in_python(source))


@pytest.mark.parametrize(
    "source",
    [
        'path = root / "a" / name',
        'path = root / name / f"{period}.json"',
        "half = total // 2",
        "share = Fraction(1, 3)",
        "if isinstance(amount, float): raise TypeError",
        "if isinstance(amount, (bool, float)): raise TypeError",
        'text = "0.5 float"',
    ],
)
def test_the_rule_allows_what_is_no_float(source: str) -> None:
    assert not list(floats_in_python(source))


def test_the_rule_reads_sql() -> None:
    assert list(floats_in_sql("SELECT 1;\nSELECT amount::float8 FROM line")) == [(2, "the type float8")]
    assert not list(
        floats_in_sql("-- never float\nSELECT amount::bigint /* double precision */, surreal FROM line")
    )
