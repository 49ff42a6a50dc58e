"""The auditor's views answer, agree with the services, and are all that the auditor can reach."""

from typing import Any

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import text

from database.engine import conninfo, session
from database.roles import Role
from settlement.ledger import account_statement, trial_balance
from tests.settlement.audit.conftest import Tampered
from tests.settlement.books import TRIAL_BALANCE, period_bounds

MUST_BE_EMPTY = (
    "attribution_completeness",
    "attribution_conservation",
    "balance_chain",
    "bank_account_faults",
    "batch_progress_faults",
    "claim_faults",
    "correction_faults",
    "division_conservation",
    "journal_faults",
    "log_gaps",
    "material_faults",
    "money_faults",
    "payout_faults",
    "recognition_faults",
    "seal_faults",
    "slice_conservation",
    "statement_tie_out",
    "suspense_tie_out",
)

NOT_IN_THE_EXAMPLE = (
    "adjustment_lines",
    "advances",
    "artist_merges",
    "bank_charges",
    "bank_lines",
    "bank_messages",
    "bank_statements",
    "checkpoints",
    "claim_decisions",
    "conversions",
    "correction_sales",
    "corrections",
    "disputes",
    "exchange_rates",
    "frozen_advance",
    "frozen_conversion",
    "frozen_correction",
    "frozen_correction_application",
    "frozen_correction_contract",
    "frozen_correction_sale",
    "frozen_fx_rate",
    "frozen_recoupment",
    "frozen_reserve",
    "frozen_reserve_use",
    "frozen_reserve_version",
    "frozen_statement_column",
    "frozen_tax_determination",
    "frozen_tax_profile_version",
    "frozen_tax_reversal",
    "further_seeds",
    "gate_acceptances",
    "hold_changes",
    "holds",
    "image_adapters",
    "image_prompts",
    "materials",
    "ownership_claims",
    "payout_corrections",
    "privacy_requests",
    "own_purchases",
    "provider_events",
    "recognition",
    "recognition_scales",
    "recomputed_prompt_shares",
    "record_checkpoint",
    "record_schema_change",
    "recoupments",
    "reserve_term_changes",
    "reserve_uses",
    "reserves",
    "sampled_marginals",
    "sampled_values",
    "screening_findings",
    "screenings",
    "standard_errors",
    "tax_due",
    "tax_profile_changes",
    "tax_register",
    "unrecognised_names",
    "users",
)
"""Views of things that did not happen there."""


def ask(query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(conninfo(Role.AUDITOR)) as connection:
        return connection.execute(query, parameters).fetchall()


def test_every_view_answers_the_auditor(books: str) -> None:
    views = {name for (name,) in ask("SELECT viewname FROM pg_views WHERE schemaname = 'audit'")}
    assert set(MUST_BE_EMPTY) < views
    for view in sorted(views):
        rows = ask(f"SELECT * FROM audit.{view}")
        assert view in NOT_IN_THE_EXAMPLE or bool(rows) != (view in MUST_BE_EMPTY), view


def test_trial_balance(books: str) -> None:
    for place, period in enumerate(("2026-10", "2026-11")):
        rows = ask(
            "SELECT account, opening, debits, credits, closing FROM audit.trial_balance WHERE period_id = %s",
            period,
        )
        expected = {
            code: (figures[2] if place else 0, *figures[3 * place : 3 * place + 3])
            for code, figures in TRIAL_BALANCE.items()
        }
        assert {code: tuple(map(int, figures)) for code, *figures in rows} == {
            code: figures for code, figures in expected.items() if any(figures) or place
        }
        with session(Role.SETTLEMENT) as own:
            service = trial_balance(own, *period_bounds(period))
        assert sorted((code, *map(int, figures)) for code, *figures in rows) == [
            (row.code, row.opening, row.debits, row.credits, row.closing) for row in service
        ]
    assert ask("SELECT sum(abs(closing)) FROM audit.trial_balance_total") == [(0,)]


def test_general_ledger_runs_like_the_accounts_statement(books: str) -> None:
    code = "royalties_payable:pay-1:EUR"
    rows = ask(
        "SELECT key, amount, balance FROM audit.general_ledger WHERE account = %s ORDER BY booked_at", code
    )
    with session(Role.SETTLEMENT) as own:
        service = account_statement(own, code)
    assert rows == [(line.key, line.amount, line.balance) for line in service.lines]
    assert rows[-1][2] == service.closing == -28_565


def test_a_filter_on_the_account_uses_its_index(books: str) -> None:
    """The running balance of one account does not read the others'."""
    with psycopg.connect(conninfo(Role.ADMIN)) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = "\n".join(
            row[0]
            for row in connection.execute(
                "EXPLAIN SELECT * FROM audit.general_ledger WHERE account = 'bank:EUR'"
            ).fetchall()
        )
    assert "posting_account_idx" in plan and "account_code_key" in plan and "Seq Scan" not in plan


def test_journals_by_period(books: str) -> None:
    assert ask(
        "SELECT count(DISTINCT key), sum(debit), sum(credit) FROM audit.journal_lines WHERE period_id = '2026-10'"
    ) == [(9, 16_360_000, 16_360_000)]


def test_terms_changed_by_whom_and_why(tampered: Tampered) -> None:
    with tampered(
        "INSERT INTO settlement.rate_card_version (rate_card_id, valid_from, model, rate_ppb, content_to,"
        " distribution_key, actor, reason) VALUES ('standard-1', '2027-01-01', 'per_image', 350000000,"
        " 'model_developer', 'attribution',"
        " 'dora', 'new year')",
        "INSERT INTO settlement.contract_version (contract_id, artist_id, valid_from, status, actor, reason)"
        " VALUES ('contract-2', 'art-2', '2027-01-01', 'ended', 'dora', 'left')",
        "INSERT INTO party.party_version (payee_id, version, salt, digest, details, actor, reason)"
        " SELECT payee_id, 2, salt, digest, details, 'dora', 'moved' FROM party.party_version WHERE payee_id = 'pay-1'",
        "INSERT INTO party.bank_account_version (payee_id, version, key_id, ciphertext, masked, fingerprint,"
        " content, actor, reason) SELECT payee_id, 2, key_id, ciphertext, 'NL** **** 4300', sha256(fingerprint),"
        " content, 'dora', 'moved' FROM party.bank_account_version WHERE payee_id = 'pay-1'",
    ) as own:
        rate = own.execute(
            text("SELECT previous_rate_ppb, rate_ppb, actor, reason, recorded_after_its_start FROM audit.rate_changes"
                 " WHERE reason = 'new year'")
        ).one()  # fmt: skip
        contract = own.execute(
            text("SELECT previous_splits, splits, valid_to FROM audit.contract_changes WHERE reason = 'left'")
        ).one()
        before = own.execute(
            text("SELECT valid_to::date::text FROM audit.rate_changes WHERE reason = 'start'")
        ).scalar_one()
        bank = own.execute(
            text(
                "SELECT account_changed, name_changed, account, actor FROM audit.bank_detail_changes WHERE version = 2"
            )
        ).one()
    assert rate == (300_000_000, 350_000_000, "dora", "new year", False)
    assert contract == ({"pay-2": 1_000_000_000}, None, None)
    assert before == "2027-01-01"
    assert bank == (True, False, "NL** **** 4300", "dora")


def test_suspense(books: str) -> None:
    assert ask("SELECT artist_id, artist, currency, amount, lines FROM audit.unclaimed") == [
        ("art-3", "Cleo Dune", "EUR", 677_883, 2)
    ]
    assert ask(
        "SELECT destination, period_id, closed_periods_since, amount FROM audit.suspense_ageing ORDER BY period_id"
    ) == [("unclaimed", "2026-10", 1, 338_994), ("unclaimed", "2026-11", 0, 338_889)]


def test_two_people_approved(books: str) -> None:
    assert ask("SELECT kind, maker, checker, is_of_what_was_done FROM audit.approvals") == [
        ("period", "ann", "bob", True),
        ("payout_batch", "ann", "bob", True),
        ("period", "ann", "bob", True),
    ]


def test_grants_are_listed(books: str) -> None:
    assert ask(
        "SELECT DISTINCT role FROM audit.grants WHERE schema = 'ledger' AND privilege = 'INSERT' ORDER BY 1"
    ) == [("payer",), ("royalty_guard",), ("royalty_owner",), ("settlement",)]
    assert ask("SELECT role FROM audit.roles WHERE superuser") == [("postgres",)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM ledger.posting",
        "SELECT * FROM party.party_version",
        "SELECT * FROM attribution.prompt_text",
        'SELECT * FROM access."user"',
        "SELECT guard.make_append_only('ledger.posting')",
        "INSERT INTO ledger.account (code, class, currency) VALUES ('x:EUR', 'asset', 'EUR')",
        "DELETE FROM audit.holds",
        "UPDATE audit.seals SET actor = 'mallory'",
        "INSERT INTO audit.seals (name) VALUES ('x')",
        "CREATE TABLE audit.note (text text)",
        "CREATE TABLE public.note (text text)",
        "CREATE VIEW audit.mine AS SELECT 1",
        "SELECT nextval('ledger.journal_id_seq')",
        "SET ROLE audit_owner",
        "DROP VIEW audit.holds",
    ],
)
@pytest.mark.parametrize("mode", ["read only", "read write"])
def test_the_auditor_reads_the_views_and_nothing_else(books: str, statement: str, mode: str) -> None:
    """Also after switching off the read-only default, which a client can do."""
    refusals = (
        errors.InsufficientPrivilege,
        errors.ReadOnlySqlTransaction,
        errors.ObjectNotInPrerequisiteState,
        errors.WrongObjectType,
        errors.UndefinedFunction,
    )
    with pytest.raises(refusals), psycopg.connect(conninfo(Role.AUDITOR)) as connection:
        if mode == "read write":
            connection.execute("SET TRANSACTION READ WRITE")
        connection.execute(statement)


def test_the_auditor_hands_on_no_right(books: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege), psycopg.connect(conninfo(Role.AUDITOR)) as connection:
        connection.execute("SET TRANSACTION READ WRITE")
        connection.execute("GRANT SELECT ON audit.holds TO portal")


@pytest.mark.parametrize("role", [role for role in Role if role not in (Role.ADMIN, Role.AUDITOR)])
def test_the_views_are_the_auditors(books: str, role: Role) -> None:
    with pytest.raises(errors.InsufficientPrivilege), psycopg.connect(conninfo(role)) as connection:
        connection.execute("SELECT * FROM audit.images")


def test_nothing_in_audit_runs_with_other_rights(books: str) -> None:
    """No function is SECURITY DEFINER, none is volatile, and every view is the audit owner's."""
    assert ask(
        "SELECT p.proname FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace"
        " WHERE n.nspname = 'audit' AND (p.prosecdef OR p.provolatile = 'v' OR p.proacl::text LIKE '{=X%%')"
    ) == []  # fmt: skip
    assert (
        ask("SELECT viewname FROM pg_views WHERE schemaname = 'audit' AND viewowner <> 'audit_owner'") == []
    )


def test_amounts_as_text(books: str) -> None:
    assert ask(
        "SELECT audit.amount(-1, 'EUR'), audit.amount(12340000, 'JPY'), audit.amount(0, 'EUR'), audit.billionths(-5),"
        " audit.billionths(1000000000), audit.ratio(3, 2), audit.ratio(4, 2)"
    ) == [
        ("-0.000001 EUR", "12.340000 JPY", "0.000000 EUR", "-0.000000005", "1.000000000",
         "0.000000001500 (3/2 x 10^-9)", "0.000000002")
    ]  # fmt: skip
