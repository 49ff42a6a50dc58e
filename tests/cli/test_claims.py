"""Claims, disputes, advances and rates in the terminal: what an operator types, and what the books say afterwards."""

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from sqlalchemy import text
from typer.testing import CliRunner

from cli import advances, claims, disputes, fx
from cli.operator import save_token
from database.engine import session
from database.errors import Conflict, Invalid, Refused
from database.identity import Principal, issue_token
from database.roles import Role
from database.settings import get_settings
from tests.api.books import PERIOD, settle

Run = Callable[..., str]


@pytest.fixture(scope="module")
def settled(module_database: str) -> str:
    settle()
    return module_database


@pytest.fixture
def run(settled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command as somebody with these scopes; what it prints."""
    monkeypatch.setenv("ROYALTY_TOKEN_FILE", str(tmp_path / "token"))
    get_settings.cache_clear()
    app = typer.Typer()
    for group in (advances, claims, disputes, fx):
        group.register(app)

    def command(who: str, *arguments: str) -> str:
        scopes = {
            "mara": ("payouts:write", "runs:write", "catalogue:write"),
            "chen": ("payouts:approve", "runs:approve"),
        }[who]
        save_token(issue_token(Principal(1, who, frozenset(scopes))))
        result = CliRunner().invoke(app, arguments, standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return command


def test_a_claim(run: Run) -> None:
    said = run(
        *("mara", "claim", "open", "case-1", "pay-1", "1.50", "EUR", "--claimant", "pay-2"),
        *("--reason", "assigned", "--evidence", "file 7", "--until", "2026-12-01"),
    )
    assert "1.50 EUR of pay-1's balance waits in suspense" in said
    with pytest.raises(Invalid, match="propose with --award AMOUNT"):
        run("mara", "claim", "decide", "case-1")
    proposed = run("mara", "claim", "decide", "case-1", "--award", "0.50", "--reason", "a third of it")
    digest = proposed.split("--approve ")[1].split("`")[0]
    assert digest in run("chen", "claim", "show", "case-1")
    with pytest.raises(Refused, match="needs the scope payouts:approve"):
        run("mara", "claim", "decide", "case-1", "--approve", digest)
    with pytest.raises(Conflict, match="is not the one you have seen"):
        run("chen", "claim", "decide", "case-1", "--approve", "0" * 12)
    for _ in range(2):
        said = run("chen", "claim", "decide", "case-1", "--approve", digest)
        assert "0.50 EUR to pay-2, 1.00 EUR back to pay-1" in said
    assert "decided" in run("mara", "claim", "list")
    with session(Role.AUDITOR) as own:
        assert own.execute(text("SELECT * FROM audit.claim_faults")).all() == []


def test_a_dispute(run: Run) -> None:
    statement = f"{PERIOD}/pay-1/EUR"
    said = run("mara", "dispute", "open", statement, "--words", "all of it is wrong", "--hold")
    number = said.split("dispute ")[1].split(" ")[0]
    assert "stops pay-1's payouts" in said
    assert statement in run("mara", "dispute", "list")
    assert "all of it is wrong" in run("mara", "dispute", "show", number)
    assert "rejected" in run("mara", "dispute", "answer", number, "--reject", "--reason", "it is right")
    assert statement not in run("mara", "dispute", "list")
    assert "rejected" in run("mara", "dispute", "list", "--all")
    assert "it is right" in run("mara", "dispute", "show", number)


def test_an_advance(run: Run) -> None:
    proposed = run("mara", "advance", "propose", "adv-1", "pay-1", "5.00", "--reason", "album")
    assert "5.00 EUR to pay-1" in proposed
    with pytest.raises(Refused, match="is not approved"):
        run("mara", "advance", "pay", "adv-1")
    assert "approved by chen" in run("chen", "advance", "approve", "adv-1")
    with pytest.raises(Invalid, match="--on is in the future"):
        run("mara", "advance", "pay", "adv-1", "--on", "2999-01-01")
    assert "is paid" in run("mara", "advance", "pay", "adv-1", "--on", "2026-01-05")
    assert "paid" in run("mara", "advance", "list")
    assert "came back" in run("mara", "advance", "return", "adv-1")
    assert "posted before" in run("mara", "advance", "return", "adv-1")
    assert "returned" in run("mara", "advance", "list")


def test_a_set_of_rates(run: Run) -> None:
    given = ("fx", "enter", "USD/EUR=0.9215", "JPY/EUR=0.0061", "--from", "2026-10-31", "--publisher", "ECB")
    assert "2 of 2 rates are entered" in run("mara", *given)
    assert "was known" in run("mara", *given)
    listed = run("mara", "fx", "list")
    assert "0.921500000000" in listed and "2026-10-31" in listed
    with pytest.raises(Invalid, match="is not a rate: write SOURCE/TARGET=RATE"):
        run("mara", "fx", "enter", "USD=1", "--from", "2026-10-31", "--publisher", "ECB")
    # Whole or not at all.
    with pytest.raises(Conflict, match="recorded otherwise"):
        run(
            *("mara", "fx", "enter", "NOK/EUR=0.09", "USD/EUR=0.93"),
            *("--from", "2026-10-31", "--publisher", "ECB"),
        )
    assert "NOK" not in run("mara", "fx", "list")
    with pytest.raises(Refused, match="needs the scope catalogue:write"):
        run("chen", *given)
