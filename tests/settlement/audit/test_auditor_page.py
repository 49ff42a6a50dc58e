"""docs/auditor.md, step by step: every block is run as the auditor, and prints what the page says it prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli.checkpoints import export, seal_log
from database.embedded import EmbeddedServer
from database.engine import conninfo
from database.roles import Role
from database.settings import get_settings
from tests.settlement.audit.test_views import ask

PAGE = Path(__file__).resolve().parents[3] / "docs" / "auditor.md"

STEPS = re.findall(r"^## (\d+)\. .*?\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
"""Number and text of each step."""

BLOCK = re.compile(r"^```sql\n(.*?)^```\n(?:\n```\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
"""A block of SQL, and what the page says it prints."""

_NEXT = "next block"

SETTINGS = "".join(re.findall(r"^\\set .*\n", PAGE.read_text(), re.MULTILINE))


def printed(step: str) -> list[str]:
    """What psql prints for each of a step's blocks."""
    blocks = [sql for sql, _ in BLOCK.findall(step)]
    script = SETTINGS + f"\\echo {_NEXT}\n".join(blocks)
    done = subprocess.run(
        [EmbeddedServer.program("psql"), "-X", "-q", conninfo(Role.AUDITOR)],
        input=script,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PGTZ": "UTC"},
        check=False,
    )
    return done.stdout.split(f"{_NEXT}\n")


SHELL = re.findall(r"^```sh\n(.*?)^```\n\n```\n(.*?)^```\n", PAGE.read_text(), re.MULTILINE | re.DOTALL)
"""Blocks for a shell, and what they print."""


def test_there_are_ten_steps() -> None:
    assert [number for number, _ in STEPS] == [str(number) for number in range(1, 11)]
    for _, text in STEPS:
        assert BLOCK.search(text) and all(said for _, said in BLOCK.findall(text))


@pytest.mark.parametrize(("number", "text"), STEPS, ids=[number for number, _ in STEPS])
def test_a_step_prints_what_the_page_says(books: str, number: str, text: str) -> None:
    expected = [said for _, said in BLOCK.findall(text)]
    found = printed(text)
    assert [_lines(one) for one in found] == [_lines(one) for one in expected]


def test_a_checkpoint_that_was_kept(books: str, tmp_path: Path) -> None:
    """Step 10: the platform seals and sends, the auditor keeps and verifies."""
    seal_log("ann")
    export(tmp_path / "kept")
    assert len(SHELL) == 1
    [(command, said)] = SHELL
    assert _shell(command, tmp_path) == (0, said)


def _shell(command: str, directory: Path) -> tuple[int, str]:
    """Exit status and output of a shell command, `royalty` being this checkout's, on this test's database."""
    settings = get_settings()
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'royalty() {{ "{sys.executable}" -m cli.main "$@"; }}\n{command}'],
        cwd=directory,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(PAGE.parents[1]),
            "ROYALTY_HOME": str(settings.royalty_home),
            "DATABASE_NAME": settings.database_name,
        },
        check=False,
    )
    return done.returncode, done.stdout


def test_the_other_queries_run(books: str) -> None:
    text = re.sub(r"^```.*?^```$", "", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    indented = "\n".join(re.findall(r"^    (.*)$", text, re.MULTILINE))
    queries = re.findall(r"^SELECT .*?;[^\n]*", indented, re.MULTILINE | re.DOTALL)
    assert len(queries) > 5
    for query in queries:
        assert not ("must be empty" in query and ask(query.replace("%", "%%"))), query
        ask(query.replace("%", "%%"))


def _lines(text: str) -> list[str]:
    """The lines that say something. Which digests are equal is what the page says, not which digests they are."""
    digests: dict[str, str] = {}
    named = re.sub(
        r"\b[0-9a-f]{64}\b", lambda match: digests.setdefault(match[0], f"digest {len(digests)}"), text
    )
    return [line.rstrip() for line in named.splitlines() if line.strip()]
