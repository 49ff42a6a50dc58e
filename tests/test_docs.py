"""The documentation: its links lead somewhere, its commands exist, its examples work."""

import json
import re
import shlex
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import typer.main
from sqlalchemy import text as sql

from attribution.image_file import parse_image, read_images
from attribution.ingest import Status, log_images
from attribution.prompt_file import read_prompts
from cli import main
from database.engine import session
from database.roles import Role
from database.settings import Settings
from settlement.catalogue_file import load_catalogue
from settlement.sales import parse_sale, read_refunds, read_sales, record_refunds, record_sales

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "docs" / "examples"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

THIS_MODEL = {
    "model": "a model",
    "weights_sha256": "ab" * 32,
    "scheduler": "DDIMScheduler",
    "scheduler_config": {},
    "width": 64,
    "height": 64,
}
"""What `--this-model` fills in; the real one needs no weights here."""


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    missing = [
        link
        for link in links
        if not link.startswith(("http://", "https://", "#"))
        and not (page.parent / link.partition("#")[0]).exists()
    ]
    assert not missing


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every `royalty ...` in a page, without that one: in code blocks, and between backticks."""
    text = page.read_text()
    blocks = re.findall(r"^ {4,}(.*)$", text, re.MULTILINE)
    blocks += "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)).splitlines()
    for line in (*blocks, *re.findall(r"`([^`\n]+)`", text)):
        words = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        words.whitespace_split = True
        try:
            parts = [
                list(group)
                for split, group in groupby(words, lambda word: set(word) <= set(";&|"))
                if not split
            ]
        except ValueError:  # a quote that is prose's
            continue
        for part in parts:
            # A step's number or an environment variable may stand before the command.
            while part and re.fullmatch(r"\d+|[A-Z_]+=.*", part[0]):
                part.pop(0)
            if part[:5] == ["docker", "compose", "run", "--rm", "cli"]:
                part[:5] = ["royalty"]
            if part[1:] and part[0].rpartition("/")[2] == "royalty":
                yield [word for word in part[1:] if word not in ("...", "…")]


@pytest.fixture(scope="module")
def royalty() -> Any:
    main._register()
    return typer.main.get_command(main.app)


def test_commands_exist_with_their_options(page: Path, royalty: Any) -> None:
    problems = []
    for words in commands(page):
        command, rest = royalty, list(words)
        while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            if rest[0] not in command.commands:
                break
            command = command.commands[rest.pop(0)]
        if hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            problems.append(f"royalty {' '.join(words)}: no command {rest[0]}")
            continue
        known = {
            name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)
        }
        given = rest[: rest.index("--")] if "--" in rest else rest
        problems += [
            f"royalty {' '.join(words)}: no option {word}"
            for word in given
            if word.startswith("--") and word.partition("=")[0] not in known | {"--help"}
        ]
    assert not problems


def test_commands_are_found() -> None:
    assert len(list(commands(ROOT / "README.md"))) > 15
    assert ["payout", "create", "EUR"] in [words[:3] for words in commands(ROOT / "docs" / "operations.md")]


def test_the_checker_of_commands_finds_mistakes(royalty: Any, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.md"
    wrong.write_text(
        "    royalty images conjure x\n    royalty login mara && royalty period close 1 --fast  # no\n"
    )
    assert [words[:2] for words in commands(wrong)] == [
        ["images", "conjure"],
        ["login", "mara"],
        ["period", "close"],
    ]
    with pytest.raises(AssertionError, match=r"no command conjure.*\n?.*no option --fast"):
        test_commands_exist_with_their_options(wrong, royalty)


def test_every_environment_variable_is_documented() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text()
    missing = [name.upper() for name in Settings.model_fields if not re.search(rf"`{name.upper()}`", text)]
    assert not missing


def test_example_catalogue_goes_with_the_demonstration_s(database: str) -> None:
    bundled = ROOT / "cli" / "bundled" / "miniature" / "catalogue.yaml"
    with session(Role.SETTLEMENT) as opened:
        assert load_catalogue(opened, EXAMPLES / "catalogue.yaml", actor="test", reason="test").changed
    with session(Role.SETTLEMENT) as opened:
        # Terms that contradict each other would be refused.
        assert load_catalogue(opened, bundled, actor="test", reason="test").changed
    with session(Role.SETTLEMENT) as opened:
        again = load_catalogue(opened, EXAMPLES / "catalogue.yaml", actor="test", reason="test")
    assert (again.contracts, again.rate_cards, again.platform) == (0, 0, 0)


def test_example_images_sales_and_refunds_are_taken_twice_as_once(database: str) -> None:
    with session(Role.SETTLEMENT) as opened:
        load_catalogue(opened, EXAMPLES / "catalogue.yaml", actor="test", reason="test")
    for status in (Status.RECORDED, Status.KNOWN):
        for name in ("images.jsonl", "images.csv"):
            given = read_images(EXAMPLES / name, THIS_MODEL)
            assert given.lines and not given.bad
            with session(Role.ATTRIBUTION) as opened:
                outcomes = log_images(opened, [line.record for line in given.lines])
            assert {outcome.status for outcome in outcomes} == {status}
            inline = [parse_sale(line.sale, line.record.external_id) for line in given.lines if line.sale]
            assert inline
            with session(Role.SETTLEMENT) as opened:
                assert {one.status for one in record_sales(opened, inline, actor="test")} == {status}
        sales = read_sales(EXAMPLES / "sales.csv")
        refunds = read_refunds(EXAMPLES / "refunds.csv")
        assert sales.lines and refunds.lines and not sales.bad and not refunds.bad
        with session(Role.SETTLEMENT) as opened:
            sold = record_sales(opened, [record for _, record in sales.lines], actor="test")
            refunded = record_refunds(opened, [record for _, record in refunds.lines], actor="test")
        assert [(one.status, one.reason) for one in (*sold, *refunded)] == [(status, None)] * len(
            (*sold, *refunded)
        )


def test_example_prompts_are_read() -> None:
    for name in ("prompts.txt", "prompts.jsonl"):
        given = read_prompts(EXAMPLES / name)
        assert given.lines and not given.bad
        for line in given.lines:
            if line.sale:
                parse_sale(line.sale, "an image")


def test_lines_shown_on_the_page_are_what_the_readers_take() -> None:
    shown = re.findall(
        r"^ {4}(\{\"external_id\".*\})$", (ROOT / "docs" / "images.md").read_text(), re.MULTILINE
    )
    assert len(shown) == 2
    read_prompts_line, complete = (json.loads(line) for line in shown)
    assert set(read_prompts_line) <= {"external_id", "prompt", "seed", "customer"}
    record, sale = parse_image(complete)
    assert sale is None and record.width == 512


def test_every_view_named_is_there(module_database: str) -> None:
    named = {view for page in PAGES for view in re.findall(r"\baudit\.([a-z_]+)\b", page.read_text())}
    assert len(named) > 40
    functions = {"amount", "explain"}
    with session(Role.AUDITOR) as opened:
        for view in sorted(named - functions):
            opened.execute(sql(f"SELECT * FROM audit.{view} LIMIT 1"))
        for function in sorted(named & functions):
            opened.execute(sql("SELECT CAST(:name AS regproc)"), {"name": f"audit.{function}"})
