"""Backup and restore as an operator does them, and the drill: the server is lost, the next month closes anyway."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from cli.database import holds
from database import backup, identity
from database.embedded import EmbeddedServer
from database.engine import conninfo, session
from database.errors import Conflict, Invalid, NotFound, Unavailable
from database.roles import LOGIN_ROLES, Role
from database.settings import get_settings
from settlement.audit.verify import verify
from settlement.ledger import balances
from settlement.payouts import run
from settlement.payouts.holds import open_hold, open_holds, release_hold
from settlement.payouts.outcomes import Outcome, record_outcomes
from tests import conftest
from tests.cli.test_commands import royalty
from tests.settlement.payouts.desk import digests, files, paid
from tests.settlement.periods.conftest import november, october
from tests.settlement.periods.test_worked_example import TRIAL_BALANCE

PAID_AT = datetime(2026, 11, 5, tzinfo=UTC)


def faults(opened: Session) -> list[tuple[str, tuple[str, ...]]]:
    """What an auditor finds."""
    return [(result.name, result.faults) for result in verify(opened).results if not result.ok]


def pay_by_batch() -> None:
    """The example's payout from batch to bank; who is not paid in it is under a hold meanwhile."""
    with session(Role.PAYER) as opened:
        open_hold(opened, "pay-2", "dispute", "pia")
        batch = run.create_batch(opened, "EUR", PAID_AT.date(), "pia").batch_id
    with session(Role.APPROVER) as opened:
        run.approve_batch(opened, batch, "chen")
    with session(Role.PAYER) as opened:
        assert run.reserve(opened, batch, "pia", PAID_AT) == 1
        contents = files(opened, batch)
        run.handed_over(opened, batch, digests(contents), "pia", PAID_AT)
    told = [Outcome(attempt, "paid", PAID_AT + timedelta(days=1)) for attempt in paid(contents[1])]
    with session(Role.PAYER) as opened:
        assert [result for _, result in record_outcomes(opened, told, "pia")] == ["recorded"]
        for hold in open_holds(opened):
            release_hold(opened, hold.id, "decided", "pia")


@pytest.fixture(scope="module")
def october_closed(module_database: str) -> str:
    october()
    return module_database


@pytest.fixture(scope="module")
def kept(october_closed: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a checkpoint of October's books, as an auditor keeps it."""
    own = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patched, session(Role.IDENTITY) as opened:
        identity.add_user(opened, "mara", "a long password", ["runs:write"])
        opened.commit()
        patched.setenv("ROYALTY_TOKEN_FILE", str(own / "token"))
        run_royalty("login", "mara", stdin="a long password\n")
        run_royalty("seal")
        run_royalty("checkpoint", "export", str(own / "checkpoints"))
        yield own / "checkpoints"


def run_royalty(*arguments: str, stdin: str = "") -> str:
    """What a command that succeeds says."""
    done = royalty(*arguments, stdin=stdin)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def backup_file(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("backups") / "october.backup"
    run_royalty("db", "backup", str(file))
    return file


@pytest.fixture
def other_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home whose server has none of our roles and no database."""
    home = Path(tempfile.mkdtemp(prefix="royalty-other-"))
    home.chmod(0o755)
    yield home
    EmbeddedServer(home / "postgres").stop()
    shutil.rmtree(home)


def test_a_backup_is_one_file_with_a_manifest_and_for_its_owner_only(backup_file: Path) -> None:
    beside = backup.manifest_file(backup_file)
    assert sorted(path.name for path in backup_file.parent.iterdir()) == [backup_file.name, beside.name]
    assert {path.stat().st_mode & 0o777 for path in (backup_file, beside)} == {0o600}
    manifest = json.loads(beside.read_text())
    assert manifest["size"] == backup_file.stat().st_size
    assert manifest["holds"]["journals"] == 9
    assert {role["name"] for role in manifest["roles"]} >= {role.value for role in LOGIN_ROLES}
    with pytest.raises(Conflict, match="exists: name another file"):
        backup.back_up(backup_file, holds)


def test_keys_are_not_in_it(backup_file: Path) -> None:
    key = json.loads((get_settings().royalty_home / "keys" / "token-signing.json").read_text())
    written = subprocess.run(
        [EmbeddedServer.program("pg_restore"), "--file=-", backup_file], capture_output=True, check=True
    ).stdout
    assert b"sale-1" in written and key["d"].encode() not in written


def test_a_database_with_tables_is_never_overwritten(backup_file: Path, october_closed: str) -> None:
    with pytest.raises(Conflict, match=r"has tables, .* with `--into"):
        backup.restore(backup_file, None, holds)
    with session(Role.AUDITOR) as opened:
        assert faults(opened) == []


def test_damage_is_found_before_anything_is_made(backup_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.backup"
    copy.write_bytes(backup_file.read_bytes())
    for damage, words in (
        (lambda: None, "there is no"),
        (lambda: _manifest(copy, format=99), "format 99"),
        (lambda: _manifest(copy, revision="9999"), "update first"),
        (lambda: _manifest(copy, nonsense=1), "is not the manifest"),
        (lambda: copy.write_bytes(backup_file.read_bytes()[:-1] + b"!"), "it is damaged"),
    ):
        shutil.copy(backup.manifest_file(backup_file), backup.manifest_file(copy))
        if words == "there is no":
            backup.manifest_file(copy).unlink()
        damage()
        with pytest.raises((Invalid, NotFound), match=words):
            backup.restore(copy, "elsewhere", holds)
    assert not {"elsewhere", "elsewhere_restoring"} & _databases()


def _manifest(of: Path, **changes: object) -> None:
    path = backup.manifest_file(of)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _databases() -> set[str]:
    with psycopg.connect(conninfo(Role.ADMIN)) as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


def test_a_restore_that_is_not_what_its_manifest_says_leaves_nothing(
    backup_file: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.backup"
    shutil.copy(backup_file, copy)
    shutil.copy(backup.manifest_file(backup_file), backup.manifest_file(copy))
    said = json.loads(backup.manifest_file(copy).read_text())["holds"]
    _manifest(copy, holds={**said, "journals": 10})
    with pytest.raises(Invalid, match="what was restored is not what the manifest says"):
        backup.restore(copy, "elsewhere", holds)
    assert not {"elsewhere", "elsewhere_restoring"} & _databases()


def test_beside_the_original(backup_file: Path) -> None:
    """The copy is under another name, and says how to use it; the fence, guards and grants are the original's."""
    steps: list[tuple[int, int]] = []
    name, _ = backup.restore(backup_file, "october_copy", holds, lambda *step: steps.append(step))
    assert name == "october_copy" and steps == sorted(steps) and steps[-1][0] > 100
    copy = psycopg.conninfo.make_conninfo(conninfo(Role.ADMIN), dbname="october_copy")
    with psycopg.connect(conninfo(Role.ADMIN)) as first, psycopg.connect(copy) as second:
        for query in SAME:
            assert first.execute(query).fetchall() == second.execute(query).fetchall(), query
            assert second.execute(query).fetchall()
    with (
        psycopg.connect(copy, user="settlement") as attacker,
        pytest.raises(psycopg.Error, match="permission denied"),
    ):
        attacker.execute("UPDATE ledger.posting SET amount = 1")
    for statement in ("UPDATE ledger.posting SET amount = 1", "TRUNCATE ledger.posting CASCADE"):
        with psycopg.connect(copy) as superuser, pytest.raises(psycopg.Error, match="append-only"):
            superuser.execute("SET session_replication_role = replica")
            superuser.execute(statement)
    conftest._execute("DROP DATABASE october_copy WITH (FORCE)")


SAME = (
    "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2",
    "SELECT polrelid::regclass::text, polname, polcmd FROM pg_policy ORDER BY 1, 2",
    "SELECT oid::regclass::text, relowner::regrole::text, relrowsecurity, relacl::text FROM pg_class"
    " WHERE relnamespace::regnamespace::text IN ('ledger', 'settlement', 'party', 'access', 'attribution', 'audit')"
    " ORDER BY 1",
    "SELECT oid::regprocedure::text, proowner::regrole::text, prosecdef, proconfig, proacl::text FROM pg_proc"
    " WHERE pronamespace::regnamespace::text IN ('guard', 'audit', 'settlement') ORDER BY 1",
    "SELECT evtname, evtevent, evtowner::regrole::text, evtfoid::regproc::text, evtenabled, evttags"
    " FROM pg_event_trigger ORDER BY 1",
    "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2",
)


def test_the_drill(
    backup_file: Path, kept: Path, other_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The books are damaged; a new machine goes on with November from the backup, and an auditor agrees."""
    [checkpoint] = kept.glob("checkpoint-*.txt")
    trusting = (
        "verify",
        "--checkpoint",
        str(checkpoint),
        "--key",
        max(kept.glob("key-*.txt")).read_text().strip(),
    )
    with psycopg.connect(conninfo(Role.ADMIN)) as superuser:
        superuser.execute("SET event_triggers = off")
        superuser.execute("ALTER TABLE ledger.posting DISABLE TRIGGER USER")
        superuser.execute("UPDATE ledger.posting SET amount = 2 * amount")
        superuser.execute("ALTER TABLE ledger.posting ENABLE TRIGGER USER")
    damaged = royalty(*trusting)
    assert damaged.returncode == 1 and "the books are those of the checkpoint" in damaged.stdout, damaged

    keys = [get_settings().royalty_home / name for name in ("keys", "checkpoints")]
    monkeypatch.setenv("ROYALTY_HOME", str(other_server))
    monkeypatch.setenv("DATABASE_NAME", "royalty")
    conftest._forget_settings()
    try:
        restored = run_royalty("db", "restore", str(backup_file))
        assert "database royalty is as it was at" in restored
        with session(Role.ADMIN) as opened:
            roles = opened.execute(text("SELECT rolname, rolbypassrls, rolconfig FROM pg_roles")).all()
        settings = {role: (bypass, config) for role, bypass, config in roles}
        assert settings["settlement"] == (True, None)
        assert settings["auditor"] == (False, ["default_transaction_read_only=on", "statement_timeout=10min"])
        assert "everything holds" in run_royalty(*trusting)
        for statement in (
            "ALTER TABLE ledger.posting DISABLE TRIGGER USER",
            "CREATE TABLE ledger.posting_2 () INHERITS (ledger.posting)",
            "DROP TRIGGER append_only ON ledger.journal",
            "GRANT UPDATE ON ledger.posting TO settlement",
            "DROP SCHEMA guard CASCADE",
        ):
            with (
                psycopg.connect(conninfo(Role.ADMIN)) as superuser,
                pytest.raises(psycopg.Error, match="fenced"),
            ):
                superuser.execute(statement)
        # Keys are in no backup of the database; with them payees' accounts are read again, and the log is signed.
        for directory in keys:
            shutil.copytree(directory, other_server / directory.name, dirs_exist_ok=True)
        conftest._forget_settings()
        november(pay_by_batch)
        with session(Role.SETTLEMENT) as opened:
            assert balances(opened, "") == {code: row[-1] for code, row in TRIAL_BALANCE.items()}
        assert checkpoint.name not in run_royalty("seal")
        assert "everything holds" in run_royalty(*trusting)
    finally:
        conftest._forget_settings()


def test_an_interrupted_backup_leaves_nothing(october_closed: str, tmp_path: Path) -> None:
    def stop(_: int, __: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backup.back_up(tmp_path / "half", lambda _: {}, stop)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Unavailable, match="cannot be written"):
        backup.back_up(tmp_path / "none" / "such", holds)
