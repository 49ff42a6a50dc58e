"""No account in clear but in payment files: a whole payout, by commands, and every output, file and row searched."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient
from sqlalchemy import text

from api.app import create_app
from cli.main import main
from database import identity
from database.engine import embedded_server, session
from database.roles import Role
from database.settings import get_settings
from tests.cli.test_commands import royalty
from tests.settlement.payouts import desk

CHANGED = "DE02120300000000202051"
TYPO = "DE02120300000000202052"
_DOCUMENT = yaml.safe_load(desk.CATALOGUE.format(valid_from="2026-01-01", minimum="0.10"))
ACCOUNTS = {CHANGED, TYPO} | {
    entry["iban"] for entry in [_DOCUMENT["platform"], *_DOCUMENT["payees"]] if "iban" in entry
}
SCREENED = "NL91ABNA0417164300"


def _clear(content: str) -> set[str]:
    """The accounts that can be read in it: the part that a mask leaves out, grouped or not."""
    compact = content.replace(" ", "")
    return {account for account in ACCOUNTS if account[4:-4] in compact}


def _user(name: str, *scopes: str) -> None:
    with session(Role.IDENTITY) as opened:
        identity.add_user(opened, name, "a long password", scopes)


def test_only_payment_files_name_an_account(
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    home = get_settings().royalty_home
    began = time.time_ns()
    with session(Role.ADMIN) as opened:
        desk.load_terms(opened)
        desk.close_october(opened)
        desk.post_owed(opened, 12_345_678, "pay-1", "pay-2", "pay-3", "pay-4", "pay-dev")
    _user("mara", "catalogue:write", "payouts:write")
    _user("ben", "payouts:approve")
    screening = tmp_path / "list.csv"
    screening.write_text(f"id,name,iban\nE7,Somebody else,{SCREENED}\n")
    outputs = []

    def kept(said: str, failed: bool, expected: bool) -> str:
        assert failed == expected, said
        outputs.append(said)
        return said

    def log_in(name: str) -> None:
        done = royalty(
            "login", name, stdin="a long password\n", ROYALTY_TOKEN_FILE=str(tmp_path / name)
        )  # fmt: skip
        kept(done.stdout + done.stderr, done.returncode != 0, False)

    def run(*arguments: str, fails: bool = False, token: str = "mara") -> str:
        """The command as its entry point runs it, in this process: a new one would spend its time on imports."""
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["royalty", *arguments])
            patch.setenv("SCREENING_LIST", str(screening))
            patch.setenv("ROYALTY_TOKEN_FILE", str(tmp_path / token))
            get_settings.cache_clear()
            status: object = 0
            try:
                main()
            except SystemExit as end:
                status = end.code
        get_settings.cache_clear()
        said = capfd.readouterr()
        return kept(said.out + said.err, bool(status), fails)

    log_in("mara")
    catalogue = desk.CATALOGUE.format(valid_from="2026-01-01", minimum="0.10")
    for name, account, fails in (("right", CHANGED, False), ("wrong", TYPO, True)):
        path = tmp_path / f"{name}.yaml"
        path.write_text(catalogue.replace("DK5000400440116243", account))
        said = run("catalogue", "load", str(path), "--reason", "moved", fails=fails)
        assert not fails or "is not a valid IBAN" in said
    dry = run("payout", "create", "EUR", "--dry-run")
    assert "list entry E7 (account)" in dry and "the same account as pay-4" in dry
    assert "hold is opened on pay-2" in run("payout", "create", "EUR", "--execution-date", "2026-11-04")
    log_in("ben")
    run("payout", "approve", desk.BATCH, token="ben")
    run("payout", "submit", desk.BATCH)
    attempt = f"{desk.BATCH}-1-1"
    run("payout", "settle", desk.BATCH, "--rejected", attempt)
    run("payout", "advice", desk.BATCH, "--to", str(tmp_path / "advice"))
    run("payout", "show", desk.BATCH)
    run("hold", "list")
    run("payout", "reconcile")

    with monkeypatch.context() as patch, TestClient(create_app()) as client:
        patch.setenv("SCREENING_LIST", str(screening))
        get_settings.cache_clear()
        token = (tmp_path / "mara").read_text().strip()
        asked = {"Authorization": f"Bearer {token}"}
        for place in ("payout-plan?currency=EUR", "payout-batches", f"payout-batches/{desk.BATCH}"):
            answer = client.get(f"/v1/{place}", headers=asked)
            assert answer.status_code == 200, answer.text
            outputs.append(answer.text)
    get_settings.cache_clear()

    with session(Role.AUDITOR) as opened:
        for view in opened.scalars(text("SELECT viewname FROM pg_views WHERE schemaname = 'audit'")).all():
            outputs.append(repr(opened.execute(text(f"SELECT * FROM audit.{view}")).all()))
    dump = subprocess.run(
        [str(embedded_server().program("pg_dump")), "--data-only", database],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "party.bank_account_version" in dump and "FR** **** 2606" in dump
    outputs += [dump, caplog.text]

    advice = "".join(path.read_text() for path in (tmp_path / "advice").glob("*.txt"))
    assert "FR** **** 2606" in advice
    outputs.append(advice)
    assert [_clear(output) for output in outputs] == [set()] * len(outputs)

    files = [path for path in home.rglob("*") if path.is_file() and "postgres" not in path.parts]
    written = {path for path in files if path.stat().st_mtime_ns >= began}
    naming = {path for path in written if _clear(path.read_bytes().decode("utf-8", "replace"))}
    assert naming and {path.parent for path in naming} == {home / "payouts"}
    assert {path.stat().st_mode & 0o777 for path in naming} == {0o600}
    assert _clear(next(iter(naming)).read_text()) >= {CHANGED, "FR1420041010050500013M02606"}
    assert os.stat(home / "keys" / "bank-details.key").st_mode & 0o777 == 0o600
