"""The command as a person runs it: a process of its own, one helpful line on wrong use, never a traceback."""

import os
import re
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from database import identity
from database.engine import embedded_server, session
from database.roles import Role
from database.settings import get_settings
from tests.settlement.periods.conftest import october
from tests.settlement.test_remittances import withhold


def royalty(*arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command with this test's database, and other variables where given."""
    settings = get_settings()
    environment = {
        **os.environ,
        "ROYALTY_HOME": str(settings.royalty_home),
        "DATABASE_NAME": settings.database_name,
        "COLUMNS": "200",
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )


def _one_line(result: subprocess.CompletedProcess[str], *words: str) -> None:
    lines = result.stderr.strip().splitlines()
    assert result.returncode != 0
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in lines[0]


@pytest.fixture
def operator(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user with a maker's scopes, logged in."""
    monkeypatch.setenv("ROYALTY_TOKEN_FILE", str(tmp_path / "token"))
    scopes = ["catalogue:write", "images:write", "sales:write", "runs:write", "payouts:write"]
    with session(Role.IDENTITY) as opened:
        identity.add_user(opened, "mara", "a long password", scopes)
    logged_in = royalty("login", "mara", stdin="a long password\n")
    assert logged_in.returncode == 0, logged_in.stderr
    assert (tmp_path / "token").stat().st_mode & 0o077 == 0
    return "mara"


def test_wrong_use_gets_one_line(operator: str, tmp_path: Path) -> None:
    _one_line(royalty("catalogue", "load", str(tmp_path / "none.yaml")), "none.yaml")
    _one_line(royalty("sales", "import", str(tmp_path / "none.csv")), "none.csv")
    _one_line(royalty("nonsense"), "--help")
    _one_line(royalty("period", "close", "yesterday"), "2026-10")
    _one_line(royalty("period", "close", "2199-01"))
    _one_line(royalty("statement", "show", "no/such/one"), "royalty statement list")
    _one_line(royalty("payout", "create", "EUR"), "closed")
    _one_line(royalty("payout", "import", str(tmp_path / "none.xml")), "none.xml: cannot be read")
    # A name that the file system refuses, as it does a folder of another user's.
    _one_line(royalty("payout", "import", str(tmp_path / ("n" * 300))), "cannot be read", "nothing is taken")
    _one_line(royalty("explain", "nothing"), "nothing")


def test_without_login_and_with_the_wrong_scope(operator: str, tmp_path: Path) -> None:
    _one_line(
        royalty("period", "close", "2026-01", ROYALTY_TOKEN_FILE=str(tmp_path / "other")), "royalty login"
    )
    _one_line(royalty("period", "approve", "2026-01", "0" * 64), "runs:approve")


def test_a_database_that_is_not_there_or_not_set_up(operator: str) -> None:
    away = royalty("statement", "list", DATABASE_URL="postgresql://127.0.0.1:1/royalty")
    _one_line(away, "not reachable")
    _one_line(royalty("statement", "list", DATABASE_NAME="postgres"), "royalty db migrate")


def test_a_port_that_is_taken(database: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        _one_line(royalty("serve", "--port", port), port, "--port")


def test_a_catalogue_is_loaded_once_and_shown(operator: str) -> None:
    bundled = Path("cli/bundled/miniature/catalogue.yaml")
    first = royalty("catalogue", "load", str(bundled))
    assert first.returncode == 0, first.stderr
    assert "7 artists" in first.stdout
    again = royalty("catalogue", "load", str(bundled))
    assert "known already" in again.stdout
    shown = royalty("catalogue", "show").stdout
    assert "Bruno Keller" in shown
    assert "pay-keller-estate 70.00 %, pay-lucia 30.00 %" in shown
    assert "unclaimed" in shown  # Farid Naseri has no contract
    # Days as the file has them, in the zone of the platform: in UTC Berlin's first of January begins in December.
    terms = royalty("catalogue", "terms", COLUMNS="400").stdout
    assert re.search(r"^standard +\d{4}-\d\d-01 ", terms, re.MULTILINE), terms
    _one_line(royalty("period", "close", "2199-01"), "it begins on 2199-01-01")
    opened = royalty(
        "period", "open", (month := f"{datetime.now(UTC):%Y-%m}"), "--cut-off", "2199-01-03T12:00"
    )
    assert opened.stdout == f"period {month} is open; its cut-off is 2199-01-03 12:00 UTC\n"


def test_an_import_takes_the_good_lines_and_lists_the_bad(operator: str, tmp_path: Path) -> None:
    assert royalty("catalogue", "load", "cli/bundled/miniature/catalogue.yaml").returncode == 0
    file = tmp_path / "sales.csv"
    file.write_text(
        "external_id,image,sold_at,territory,currency,price\n"
        "sale-1,no-such-image,2026-10-05T12:00:00Z,DE,EUR,1.00\n"
        "sale-2,no-such-image,yesterday,DE,EUR,1.00\n"
    )
    result = royalty("sales", "import", str(file))
    assert result.returncode == 0
    assert "no-such-image is not logged" in result.stdout
    assert "sold_at" in result.stdout
    assert "0 recorded, 0 known already, 2 lines left out" in result.stdout


def test_withheld_tax_is_remitted_and_shown(operator: str) -> None:
    assert royalty("tax", "due").stdout == "no tax was withheld\n"
    with session(Role.SETTLEMENT) as opened:
        withhold(opened)
    given = ("tax", "remit", "US", "EUR")
    said = ("--on", "2026-11-10", "--reference", "2026-10/US")
    assert royalty(*given, "60.00", *said).stdout.startswith("remitted 60.00 EUR to US on 2026-11-10")
    assert royalty(*given, "60.00", *said).stdout.startswith("known already: 60.00 EUR")
    _one_line(
        royalty(*given, "40.01", "--on", "2026-11-10", "--reference", "r"), "more than US is due", "40.00 EUR"
    )
    _one_line(royalty(*given, "1", "--on", "2999-01-01", "--reference", "r"), "in the future")
    assert "US  due 40.00 EUR: withheld 100.00 EUR" in royalty("tax", "due").stdout


def test_a_closed_period_is_shown_and_nobody_is_asked_to_approve_it(operator: str) -> None:
    october()
    shown = royalty("period", "review", "2026-10")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.endswith("period 2026-10 is closed: nothing is left to approve\n")
    assert "period approve" not in shown.stdout


def test_verify_holds_on_an_empty_database(database: str) -> None:
    result = royalty("verify")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "everything holds" in result.stdout


def test_a_checkpoint_is_signed_exported_and_verified_against(operator: str, tmp_path: Path) -> None:
    assert royalty("catalogue", "load", "cli/bundled/miniature/catalogue.yaml").returncode == 0
    sealed = royalty("seal")
    assert sealed.returncode == 0 and "keep a copy" in sealed.stdout, sealed.stderr
    assert royalty("checkpoint", "export", str(tmp_path)).returncode == 0
    [note] = tmp_path.glob("checkpoint-*.txt")
    assert note.with_suffix(".leaves").exists()
    key = (tmp_path / "key-0001.txt").read_text().strip()
    rotated = royalty("checkpoint", "rotate")
    assert rotated.returncode == 0 and re.search(r"key \d+ signs", rotated.stdout), rotated.stderr
    # Who trusts the first key trusts what it handed over to, and an old checkpoint still holds.
    for given in (["--key", key], []):
        result = royalty("verify", "--checkpoint", str(note), *given)
        assert result.returncode == 0, result.stdout + result.stderr
        assert (
            "the books are those of the checkpoint" in result.stdout and "covered: the first" in result.stdout
        )
    other = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    refused = royalty("verify", "--checkpoint", str(note), "--key", other)
    assert refused.returncode != 0 and "none of the keys" in refused.stderr


def test_psql_as_the_auditor_cannot_write(database: str) -> None:
    read = royalty("db", "psql", "--as", "auditor", "--", "-Atc", "SELECT count(*) FROM audit.trial_balance")
    assert read.stdout.strip() == "0", read.stderr
    write = royalty("db", "psql", "--", "-c", "INSERT INTO ledger.seal (name) VALUES ('x')")
    assert write.returncode != 0
    assert "permission denied" in write.stderr or "read-only" in write.stderr


def test_the_embedded_server_is_the_tests_own() -> None:
    # The tests above start processes that connect to it: were it another one, they would touch somebody's data.
    assert str(embedded_server().data).startswith(os.environ["ROYALTY_HOME"])
