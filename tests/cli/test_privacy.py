"""`royalty privacy`: by whoever has the scope, with a file that nobody else may read, and told what is left to do."""

import json
import sys
from pathlib import Path

import pytest

from cli.main import main
from database import identity
from database.engine import session
from database.roles import Role
from database.settings import get_settings
from tests.settlement.payouts import desk


def test_export_and_erase(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with session(Role.ADMIN) as opened:
        desk.load_terms(opened)
    for name, scope in (("mara", "payouts:write"), ("dora", "privacy:write")):
        with session(Role.IDENTITY) as opened:
            identity.add_user(opened, name, "a long password", [scope])
            token = identity.issue_token(identity.authenticate(opened, name, "a long password"))
        (tmp_path / name).write_text(token)

    def run(*arguments: str, as_: str = "dora") -> tuple[bool, str]:
        status: object = 0
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["royalty", *arguments])
            patch.setenv("ROYALTY_TOKEN_FILE", str(tmp_path / as_))
            get_settings.cache_clear()
            try:
                main()
            except SystemExit as end:
                status = end.code
        get_settings.cache_clear()
        said = capfd.readouterr()
        return not status, said.out + said.err

    file = tmp_path / "pay-1.json"
    export = ("privacy", "export", "pay-1", "--reason", "asked", "--to", str(file))
    assert run(*export, as_="mara") == (
        False,
        "royalty: mara may not do this: it needs the scope privacy:write; log in as somebody who has it\n",
    )
    done, said = run(*export)
    assert done, said
    assert file.stat().st_mode & 0o777 == 0o600
    held = json.loads(file.read_text())
    newest = held["tables"]["party.party_version"][-1]
    assert newest["details"]["name"] == "Mara Vell"
    assert newest["account"] == {"iban": "FR1420041010050500013M02606", "bic": "PSSTFRPPPAR"}
    done, said = run(*export)
    assert not done and "name another file" in said

    erase = ("privacy", "erase", "pay-1", "--reason", "asked")
    assert not run(*erase, as_="mara")[0]
    done, said = run(*erase)
    assert done and "rows of pay-1 erased" in said and "backups of the database" in said
    assert run(*erase) == (False, "royalty: the personal data of payee pay-1 were erased already\n")
    done, said = run("privacy", "erase", "customer-1", "--reason", "asked")
    assert not done and "no image was logged for a customer customer-1" in said

    done, said = run("statement", "schema")
    assert done and json.loads(said)["$id"] == "urn:royalty:statement:2"
    done, said = run("statement", "yearly", "pay-1", "2026", "--to", str(tmp_path / "yearly"))
    assert (done, said) == (False, "royalty: no statement was issued to pay-1 for 2026\n")
