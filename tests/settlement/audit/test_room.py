"""The auditor's room: every view made to say something, by a case that it is there for."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.settlement.audit.conftest import Tampered
from tests.settlement.audit.test_views import MUST_BE_EMPTY, ask
from tests.settlement.books import TRIAL_BALANCE

JOURNAL = "UPDATE ledger.journal SET {} WHERE key = 'sale:sale-1'"
SHA256 = "sha256('x')"


def rows(own: Session, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in own.execute(text(query))]


def test_every_view_says_what_it_is(books: str) -> None:
    assert ask(
        "SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'audit' AND c.relkind = 'v' AND obj_description(c.oid, 'pg_class') IS NULL"
        " UNION ALL SELECT p.proname FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace"
        " WHERE n.nspname = 'audit' AND obj_description(p.oid, 'pg_proc') IS NULL"
    ) == []  # fmt: skip
    said = ask(
        "SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'audit' AND obj_description(c.oid, 'pg_class') LIKE 'must be empty%%'"
    )
    assert {name for (name,) in said} == set(MUST_BE_EMPTY)


def test_control_totals_count_the_population(books: str) -> None:
    totals = ask(
        "SELECT period_id, kind, currency, journals, lines, debits, credits FROM audit.control_totals ORDER BY 1, 2"
    )
    by_kind = {row[:2]: row[2:] for row in totals}
    assert by_kind["2026-10", "all kinds"] == ("EUR", 9, 22, 16_360_000, 16_360_000)
    assert by_kind["2026-10", "sale"] == ("EUR", 4, 12, 13_090_000, 13_090_000)
    assert by_kind["2026-11", "all kinds"] == ("EUR", 10, 26, 4_836_000, 4_836_000)
    for period in ("2026-10", "2026-11"):
        kinds = [row[3:] for row in totals if row[0] == period and row[1] != "all kinds"]
        assert tuple(map(sum, zip(*kinds, strict=True))) == by_kind[period, "all kinds"][1:]
    assert ask("SELECT sum(debits) FROM audit.trial_balance_total") == [(16_360_000 + 4_836_000,)]


def test_control_totals_show_what_is_in_no_period(tampered: Tampered) -> None:
    with tampered("DELETE FROM settlement.period WHERE period_id = '2026-10'") as own:
        assert rows(
            own,
            "SELECT journals, debits FROM audit.control_totals WHERE period_id IS NULL AND kind = 'all kinds'",
        ) == [(9, 16_360_000)]


def test_activity_by_kind_actor_and_hour(tampered: Tampered) -> None:
    with tampered(
        "UPDATE ledger.journal SET recorded_at = '2026-11-05 03:30+00', actor = 'eve' WHERE kind = 'statement'"
    ) as own:
        assert rows(
            own,
            "SELECT period_id, kind, approved_by, journals, first_entered_at = last_entered_at"
            " FROM audit.journal_activity WHERE actor = 'eve' AND entered_hour = 3 ORDER BY 1",
        ) == [("2026-10", "statement", "bob", 2, True), ("2026-11", "statement", "bob", 2, True)]
        assert rows(own, "SELECT sum(journals) FROM audit.journal_activity") == [(19,)]


@pytest.mark.parametrize(
    ("change", "timing"),
    [
        ("recorded_at = '2026-10-06'", "in time"),
        ("recorded_at = '2026-10-04'", "recorded before it was due"),
        ("recorded_at = '2026-11-02'", "recorded after the end of its period"),
        ("value_date = '2026-09-30'", "moved here: its own period was sealed"),
        ("booked_at = '2026-09-05'", "in no period"),
    ],
)
def test_cut_off(tampered: Tampered, change: str, timing: str) -> None:
    with tampered(JOURNAL.format(change)) as own:
        assert rows(own, "SELECT timing FROM audit.cut_off WHERE key = 'sale:sale-1'") == [(timing,)]


@pytest.mark.parametrize(
    ("trait", "found", "not_found"),
    [
        ("rare_actor", "actor = 'eve'", "actor = 'ann'"),
        ("period_end", "booked_at = '2026-10-31 01:00+00'", "booked_at = '2026-10-30 23:00+00'"),
        ("recorded_late", "recorded_at = '2026-11-01 00:00+00'", "recorded_at = '2026-10-31 23:00+00'"),
        ("after_close", "recorded_at = '2199-01-01'", "recorded_at = '2026-10-05'"),
        ("at_weekend", "recorded_at = '2026-10-17 12:00+00'", "recorded_at = '2026-10-16 12:00+00'"),
        ("undescribed", "actor = ' '", "actor = 'import'"),
        ("not_approved", "approved_by = NULL", "approved_by = 'bob'"),
        ("self_approved", "approved_by = 'ann', actor = 'ann'", "approved_by = 'bob', actor = 'ann'"),
        ("reversal", "reverses = 2", "reverses = NULL"),
        ("other_login", "created_by = 'postgres'", "created_by = 'settlement'"),
    ],
)
def test_journal_entry_tests(tampered: Tampered, trait: str, found: str, not_found: str) -> None:
    for change, expected in ((found, True), (not_found, False)):
        with tampered(
            JOURNAL.format(change),
            # The lines are booked with their journal.
            "UPDATE ledger.posting AS p SET booked_at = j.booked_at FROM ledger.journal AS j WHERE j.id = p.journal_id",
        ) as own:
            assert rows(
                own, f"SELECT DISTINCT {trait} FROM audit.journal_entry_tests WHERE key = 'sale:sale-1'"
            ) == [(expected,)]


def test_journal_entry_tests_of_a_line(tampered: Tampered) -> None:
    with tampered(
        "UPDATE ledger.posting SET amount = 300000000 WHERE journal_id = 1 AND line = 1",
        "UPDATE ledger.posting SET amount = -300000001 WHERE journal_id = 1 AND line = 2",
        "UPDATE ledger.journal SET reverses = 2 WHERE id = 3",
    ) as own:
        assert rows(own, "SELECT line FROM audit.journal_entry_tests WHERE round_amount") == [(1,)]
        rare = rows(own, "SELECT DISTINCT account FROM audit.journal_entry_tests WHERE rare_account")
        assert ("bank:EUR",) in rare and ("royalties_payable:pay-1:EUR",) not in rare
        assert rows(own, "SELECT DISTINCT key FROM audit.journal_entry_tests WHERE reversed") == [
            ("sale:sale-2",)
        ]
        assert rows(
            own,
            "SELECT traits - (round_amount::int + rare_account::int + rare_actor::int + period_end::int"
            " + recorded_late::int + after_close::int + at_weekend::int + undescribed::int + not_approved::int"
            " + self_approved::int + reversal::int + reversed::int + other_login::int) AS wrong, count(*)"
            " FROM audit.journal_entry_tests GROUP BY 1",
        ) == [(0, 48)]


def test_payables_control(tampered: Tampered) -> None:
    query = "SELECT period_id, statements, statements_say, difference FROM audit.payables_control ORDER BY 1"
    owed = {
        period: -sum(
            figures[place] for code, figures in TRIAL_BALANCE.items() if code.startswith("royalties")
        )
        for period, place in (("2026-10", 2), ("2026-11", 5))
    }
    assert ask(query) == [(period, 3, amount, 0) for period, amount in owed.items()]
    with tampered(
        "UPDATE settlement.statement SET closing = closing + 1, fx = 1, payable = payable + 1 WHERE number = 2"
    ) as own:
        assert [row[3] for row in rows(own, query)] == [1, 0]
    with tampered(
        "UPDATE ledger.posting SET amount = amount - 2 WHERE booked_at > '2026-11-01' AND account_id ="
        " (SELECT id FROM ledger.account WHERE code = 'royalties_payable:pay-2:EUR') AND amount < 0"
    ) as own:
        assert [row[3] for row in rows(own, query)] == [0, -2]


def test_payout_against_the_bank(books: str) -> None:
    assert ask(
        "SELECT payee_id, attempt_id, amount, state, bank_booked_at::date::text, bank_journal, payable, clearing, bank"
        " FROM audit.payout_bank"
    ) == [("pay-1", "payout-1", 180_000, "paid", "2026-11-06", "attempt:payout-1:paid", 180_000, 0, -180_000)]
    assert ask(
        "SELECT outcome, payable, clearing, bank FROM audit.payout_journals ORDER BY booked_at"
    ) == [("reserved", 180_000, -180_000, 0), ("paid", 0, 180_000, -180_000)]  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        (
            "DELETE FROM settlement.payout_event WHERE state = 'paid'",
            "attempt:payout-1:paid has no event",
        ),
        (
            "DELETE FROM ledger.posting WHERE journal_id = (SELECT id FROM ledger.journal WHERE kind = 'payout_paid');"
            "DELETE FROM ledger.journal WHERE kind = 'payout_paid'",
            "paid has no journal",
        ),
        (
            "UPDATE ledger.posting SET amount = -180001 WHERE account_id ="
            " (SELECT id FROM ledger.account WHERE code = 'bank:EUR')",
            "attempt:payout-1:paid moves payable 0, clearing 180000, bank -180001",
        ),
        (
            "UPDATE ledger.posting SET account_id = (SELECT id FROM ledger.account"
            " WHERE code = 'royalties_payable:pay-2:EUR') WHERE journal_id ="
            " (SELECT id FROM ledger.journal WHERE kind = 'payout_reserved') AND amount > 0",
            "attempt:payout-1:reserved moves payable 0, clearing -180000, bank 0",
        ),
        (
            "UPDATE settlement.payout SET amount_micros = 170000",
            "is of 180000, the payout of 170000",
        ),
        (
            "UPDATE settlement.payout_event SET state = 'accepted' WHERE state = 'reserved';"
            "UPDATE ledger.journal SET key = 'gone', kind = 'x' WHERE kind = 'payout_reserved'",
            "was never reserved",
        ),
        (
            "UPDATE ledger.journal SET key = 'attempt:payout-9:paid' WHERE kind = 'payout_paid'",
            "attempt:payout-9:paid is of no attempt",
        ),
        (
            "INSERT INTO settlement.hold (payee_id, reason, actor, opened_at)"
            " VALUES ('pay-1', 'x', 'ann', '2026-01-01')",
            "reserved while hold",
        ),
    ],
)
def test_payout_faults(tampered: Tampered, statement: str, fault: str) -> None:
    with tampered(*statement.split(";")) as own:
        found = [row[0] for row in rows(own, "SELECT fault FROM audit.payout_faults")]
    assert any(one.startswith(fault) for one in found), found


def test_a_hold_that_was_released_before_the_payment_is_no_fault(tampered: Tampered) -> None:
    with tampered(
        "INSERT INTO settlement.hold (payee_id, reason, actor, opened_at)"
        " VALUES ('pay-1', 'new bank', 'ann', '2026-01-01')",
        "INSERT INTO settlement.hold_release (hold_id, reason, actor, released_at)"
        " SELECT id, 'confirmed', 'ann', '2026-01-02' FROM settlement.hold",
    ) as own:
        assert rows(own, "SELECT * FROM audit.payout_faults") == []
        assert rows(
            own,
            "SELECT change, payee_id, actor, reason, by_who_opened_it FROM audit.hold_changes ORDER BY at",
        ) == [
            ("opened", "pay-1", "ann", "new bank", False),
            ("released", "pay-1", "ann", "confirmed", True),
        ]


def test_log_gaps(tampered: Tampered) -> None:
    leaf = "INSERT INTO ledger.log_leaf (index, kind, reference, sha256) VALUES "
    with tampered(f"{leaf} (1000000, 'journal', 'sale:sale-1x', {SHA256})") as own:
        found = rows(own, "SELECT place, reference, fault FROM audit.log_gaps ORDER BY fault")
        totals = rows(own, "SELECT leaves, last_index FROM audit.log_totals WHERE kind = 'journal'")
    assert (1_000_000, "sale:sale-1x", "is in the log and nowhere else") in found
    assert any(fault.startswith("follows ") for _, _, fault in found)
    assert totals[0][0] >= 1 and totals[0][1] == 1_000_000


@pytest.mark.parametrize("kind", ["journal", "statement"])
def test_sealed_records_that_the_log_lacks(tampered: Tampered, kind: str) -> None:
    with tampered(
        "DELETE FROM ledger.log_leaf",
        # The later seal as it was before there was a log.
        "UPDATE ledger.seal SET log_size = NULL, log_root = NULL WHERE name = '2026-11'",
        f"UPDATE ledger.seal SET log_size = 0, log_root = {SHA256} WHERE name = '2026-10'",
    ) as own:
        found = rows(own, f"SELECT reference, fault FROM audit.log_gaps WHERE kind = '{kind}'")
    assert len(found) == {"journal": 9, "statement": 3}[kind]
    assert {fault for _, fault in found} == {"is sealed, and not in the log before its seal"}


@pytest.mark.parametrize(
    ("statement", "faults"),
    [
        (
            "UPDATE ledger.closing_balance SET closing = closing + 1, opening = opening + 1 WHERE seal = '2026-11'"
            " AND account_id = (SELECT id FROM ledger.account WHERE code = 'bank:EUR')",
            {("2026-11", "bank:EUR", "opening"), ("2026-11", "bank:EUR", "closing")},
        ),
        (
            "DELETE FROM ledger.closing_balance WHERE seal = '2026-11'"
            " AND account_id = (SELECT id FROM ledger.account WHERE code = 'suspense_pending:EUR')",
            {
                ("2026-11", "suspense_pending:EUR", "debits"),
                ("2026-11", "suspense_pending:EUR", "balances"),
            },
        ),
        (
            "UPDATE ledger.posting SET amount = amount + 1 WHERE booked_at < '2026-11-01' AND account_id ="
            " (SELECT id FROM ledger.account WHERE code = 'royalties_payable:pay-1:EUR')",
            {
                ("2026-10", "royalties_payable:pay-1:EUR", "credits"),
                ("2026-10", "royalties_payable:pay-1:EUR", "closing"),
                ("2026-11", "royalties_payable:pay-1:EUR", "opening"),
                ("2026-11", "royalties_payable:pay-1:EUR", "closing"),
            },
        ),
        (
            "DELETE FROM ledger.closing_balance",
            {("2026-10", "revenue:EUR", "balances"), ("2026-11", "bank:EUR", "balances")},
        ),
    ],
)
def test_seal_faults(tampered: Tampered, statement: str, faults: set[tuple[str, str, str]]) -> None:
    with tampered(statement) as own:
        assert faults <= set(rows(own, "SELECT seal, account, item FROM audit.seal_faults"))


def test_an_account_that_a_seal_forgets(tampered: Tampered) -> None:
    """It moved in the first period only: the next seal must carry it all the same."""
    with tampered(
        "DELETE FROM ledger.posting WHERE journal_id IN (SELECT id FROM ledger.journal WHERE booked_at > '2026-11-01')",
        "DELETE FROM ledger.closing_balance WHERE seal = '2026-11'",
    ) as own:
        assert ("2026-10", "revenue:EUR", "balances carried into the next seal", 0, 1) in rows(
            own, "SELECT * FROM audit.seal_faults"
        )


def test_powers_beyond_the_grants(tampered: Tampered) -> None:
    assert ask("SELECT power FROM audit.powers WHERE role = 'postgres' AND power LIKE 'superuser%%'")
    assert {role for (role,) in ask("SELECT role FROM audit.powers WHERE can_login AND power LIKE 'sees%%'")} == {
        "attribution",
        "settlement",
    }  # fmt: skip
    assert ask("SELECT * FROM audit.powers WHERE role IN ('portal', 'auditor', 'payer')") == []
    with tampered("GRANT royalty_owner TO portal", "GRANT pg_write_all_data TO portal") as own:
        found = rows(own, "SELECT power, through FROM audit.powers WHERE role = 'portal'")
    assert ("owns schema ledger", "royalty_owner") in found
    assert ("is the predefined role pg_write_all_data", "pg_write_all_data") in found


def test_row_security(books: str) -> None:
    found = ask(
        "SELECT command, rows_seen FROM audit.row_security WHERE object = 'statement' AND roles = '{portal}'"
    )
    assert found == [("SELECT", "(payee_id = ANY (ARRAY( SELECT a.payee_id FROM access.payee_access a)))")]


def test_postings_are_the_lines_of_journals(books: str) -> None:
    columns = "journal_id, line, account, class, currency, amount, key, kind, booked_at, actor, recorded_at"
    assert (
        ask(
            f"(SELECT {columns} FROM audit.postings EXCEPT SELECT {columns} FROM audit.journal_lines)"
            f" UNION ALL (SELECT {columns} FROM audit.journal_lines EXCEPT SELECT {columns} FROM audit.postings)"
        )
        == []
    )
