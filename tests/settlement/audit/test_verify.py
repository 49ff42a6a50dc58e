"""Every check holds on true books, and each sees what it is for, by name, when a superuser falsifies them."""

from collections.abc import Iterator

import pytest

from database.engine import session
from database.roles import Role
from settlement.audit.verify import CHECKS, SHOWN, verify
from tests.settlement.audit.conftest import Tampered

BY_NAME = {check.name: check for check in CHECKS}


def test_true_books_verify(books: str) -> None:
    """Run as the auditor, who may read nothing but the views."""
    seen: list[tuple[str, int, int]] = []
    with session(Role.AUDITOR) as own:
        report = verify(own, progress=lambda *step: seen.append(step))
    assert [(result.name, result.faults) for result in report.results if not result.ok] == []
    assert report.ok and len(report.results) == len(CHECKS) == len(BY_NAME)
    assert seen[-1] == ("verified", len(CHECKS), len(CHECKS))


NAMES = {
    "{JOURNAL}": "(SELECT id FROM ledger.journal WHERE key = 'statement:2026-10:pay-1:EUR')",
    "{SALE}": "(SELECT id FROM settlement.sale WHERE external_id =",
    "{LINE}": "(SELECT min(id) FROM settlement.royalty_line WHERE player = 'art-1' AND payee_id = 'pay-1')",
    "{IMAGE}": "(SELECT id FROM attribution.image WHERE external_id = 'img-1')",
    "{GAME}": "(SELECT a.id FROM attribution.attribution AS a JOIN attribution.image AS i ON i.id = a.image_id"
    " WHERE i.external_id = 'img-1')",
}

# What a superuser does, under the check that sees it, and what the check then says.
FALSIFICATIONS = """
# journals are whole
UPDATE ledger.posting SET amount = amount + 1 WHERE journal_id = {JOURNAL} AND line = 1
=> statement:2026-10:pay-1:EUR, does not balance: EUR 1

# journals are whole
DELETE FROM ledger.posting WHERE journal_id = {JOURNAL}
=> statement:2026-10:pay-1:EUR, declares 2 lines and has 0

# journals are whole
DELETE FROM ledger.journal WHERE id = {JOURNAL}
=> lines of no journal

# journals are whole
INSERT INTO ledger.posting (journal_id, line, lines, booked_at, account_id, amount, currency) SELECT
journal_id, 3, 3, booked_at, account_id, 1, currency FROM ledger.posting WHERE journal_id = {JOURNAL} AND line
= 1
=> statement:2026-10:pay-1:EUR, declares 2 lines and has 3

# journals are whole
UPDATE ledger.posting SET account_id = 0 WHERE journal_id = {JOURNAL} AND line = 2
=> line 2 is on no account of its currency

# journals are whole
UPDATE ledger.posting SET booked_at = '2026-11-02' WHERE journal_id = {JOURNAL} AND line = 2
=> statement:2026-10:pay-1:EUR, its lines are booked at another time

# journals are whole
UPDATE ledger.journal SET recorded_at = 'infinity' WHERE id = {JOURNAL}
=> statement:2026-10:pay-1:EUR, booked in a period that was sealed before it was written

# journals say what was posted
UPDATE ledger.posting SET amount = amount * 2 WHERE journal_id = {JOURNAL}
=> statement:2026-10:pay-1:EUR, its content has another SHA-256

# journals say what was posted
UPDATE ledger.journal SET booked_at = '2026-09-01' WHERE id = {JOURNAL}
=> statement:2026-10:pay-1:EUR, its content has another SHA-256

# journals say what was posted
UPDATE ledger.journal SET key = 'other' WHERE id = {JOURNAL}
=> other, its content

# journals say what was posted
UPDATE ledger.account SET code = 'royalties_payable:thief:EUR' WHERE code = 'royalties_payable:pay-2:EUR'
=> statement:2026-10:pay-2:EUR, its content

# trial balance is zero
UPDATE ledger.posting SET amount = amount + 1 WHERE journal_id = {JOURNAL} AND line = 1
=> 2026-10, EUR, debits 16360001, credits -16360000, closing 1

# sales and refunds are posted
UPDATE settlement.sale SET price_micros = 1 + price_micros WHERE id = {SALE} 'sale-1')
=> sale:sale-1, is posted with 2380000

# sales and refunds are posted
UPDATE ledger.journal SET key = 'x' WHERE key = 'refund:refund-1:sale'
=> refund:refund-1:sale, is not posted

# attributions are complete
DELETE FROM attribution.coalition_value WHERE attribution_id = {GAME} AND coalition = 3
=> img-1, number of coalition values, 7 instead of 8

# attributions are complete
UPDATE attribution.attribution_share SET share_ppb = share_ppb + 1 WHERE attribution_id = {GAME} AND slot = 1
=> img-1, sum of shares, 1000000001 instead of 1000000000

# attributions are complete
DELETE FROM attribution.attribution_share WHERE attribution_id = {GAME} AND slot = 2
=> img-1, number of shares, 2 instead of 3

# shares follow from coalition values
UPDATE attribution.coalition_value SET value = value + 1 WHERE attribution_id = {GAME} AND coalition = 2
=> img-1, art-1, phi, 1470000000 instead of 1470000002

# shares follow from coalition values
UPDATE attribution.attribution_share SET share_ppb = share_ppb + CASE slot WHEN 1 THEN 1 ELSE -1 END WHERE
attribution_id = {GAME} AND slot IN (0, 1)
=> img-1, art-1, share, 299492387 instead of 299492386

# shares follow from coalition values
UPDATE attribution.placebo SET threshold = 300000000 WHERE players = 3 AND slot = 1
=> img-1, art-1, placebo threshold, 24000000 instead of 300000000

# shares follow from coalition values
UPDATE attribution.placebo SET threshold = 400000000
=> img-1, attributed, but due is no_artist_earns

# shares follow from coalition values
UPDATE attribution.attribution SET status = 'unattributed', reason = 'below_threshold' WHERE id = {GAME}
=> img-1, below_threshold, but due is attributed

# prompts are the ones logged
UPDATE attribution.prompt_text SET prompt = prompt || ' and art-9' WHERE image_id = {IMAGE}
=> img-1, its content has another SHA-256

# slices follow from sales and rate cards
UPDATE settlement.sale_slice SET slice_micros = slice_micros + 1 WHERE sale_id = {SALE} 'sale-1')
=> sale-1, slice 570001 of base 1900001

# slices follow from sales and rate cards
UPDATE settlement.rate_card_version SET rate_ppb = 310000000
=> sale-6, slice 120000

# lines add up to slices
UPDATE settlement.royalty_line SET amount_micros = amount_micros + 1 WHERE id = {LINE}
=> sale-1, lines of the slice, expected 570000, found 570001

# lines add up to slices
UPDATE settlement.royalty_line SET amount_micros = amount_micros - 1 WHERE kind = 'late' AND player = 'C'
=> sale-4, late lines of what was in suspense, expected 900000, found 899999

# lines add up to slices
UPDATE settlement.royalty_line SET amount_micros = -999999 WHERE kind = 'refund' AND player = 'C'
=> sale-2, lines of refund

# lines add up to slices
DELETE FROM settlement.sale_slice WHERE sale_id = {SALE} 'sale-3')
=> sale-3, lines of the slice, found 1500000

# lines divide by shares and splits
UPDATE settlement.royalty_line SET amount_micros = amount_micros + CASE payee_id WHEN 'pay-1' THEN 1 ELSE -1
END WHERE sale_id = {SALE} 'sale-1') AND player = 'art-1'
=> sale-1/art-1/pay-1, amount, 119499 instead of 119498

# lines divide by shares and splits
UPDATE settlement.royalty_line SET share_ppb = 1 WHERE id = {LINE}
=> sale-1/art-1/pay-1, share, 1 instead of 299492386

# lines divide by shares and splits
UPDATE settlement.contract_split SET share_ppb = 500000000 WHERE payee_id IN ('pay-1', 'pay-2') AND share_ppb
< 1000000000
=> sale-1/art-1/pay-1, split, 700000000 instead of 500000000

# statements are as issued
UPDATE settlement.statement SET body = replace(body, '0.184931', '0.194931') WHERE number = 1
=> 2026-10/pay-1/EUR, its content has another SHA-256

# statement bodies say what is recorded
UPDATE settlement.statement SET body = replace(body, '0.184931', '0.194931'), sha256 = sha256('x') WHERE
number = 1
=> 2026-10/pay-1/EUR, closing, 0.194931 instead of 184931

# statement bodies say what is recorded
UPDATE settlement.statement SET payee_id = 'platform' WHERE number = 1
=> 2026-10/pay-1/EUR, payee, pay-1 instead of platform

# statements hold their lines
UPDATE settlement.royalty_line SET share_ppb = 299492387 WHERE id = {LINE}
=> 2026-10/pay-1/EUR, has 2 lines of another digest

# statements hold their lines
DELETE FROM settlement.royalty_line WHERE payee_id = 'pay-1' AND period_id = '2026-11'
=> 2026-11/pay-1/EUR, its body says 3 lines, and there are none

# statements tie to lines and ledger
UPDATE settlement.royalty_line SET amount_micros = 119499 WHERE id = {LINE}
=> 2026-10/pay-1/EUR, royalties, statement 184931, lines 184932

# statements tie to lines and ledger
UPDATE ledger.posting SET amount = amount * 2 WHERE journal_id = {JOURNAL}
=> 2026-10/pay-1/EUR, closing, statement 184931, ledger 369862

# statements tie to lines and ledger
DELETE FROM settlement.statement WHERE number = 3
=> 2026-10/pay-dev/EUR, number of statements, statement 0, lines 1, ledger 1

# statements tie to lines and ledger
UPDATE ledger.journal SET kind = 'gift' WHERE key = 'attempt:payout-1:reserved'
=> 2026-11/pay-1/EUR, adjustments, statement 0, ledger -180000

# reserves, tax, advances and exchange follow from their terms
WITH a AS (INSERT INTO settlement.advance (advance_id, payee_id, currency, amount_micros, content_sha256, actor, reason)
VALUES ('adv-1', 'pay-1', 'EUR', 1, sha256('x'), 'eve', 'x'))
UPDATE ledger.journal SET key = 'advance:adv-1' WHERE key = 'sale:sale-1'
=> advances:pay-1:EUR, balance, 0 instead of 1

# corrections are applied as approved
WITH c AS (INSERT INTO settlement.correction (correction_id, kind, payee_id, currency, amount_micros, reason, content,
content_sha256, actor) VALUES ('gift', 'manual', 'pay-1', 'EUR', 5, 'x', '{}', sha256('{}'), 'eve'))
INSERT INTO settlement.correction_application (correction_id, period_id, approval_id)
SELECT 'gift', '2026-10', min(id) FROM settlement.approval
=> approved by another person, 0 instead of 1

# corrections say what was approved
ALTER TABLE settlement.correction DROP CONSTRAINT correction_content_sha256_of_content;
INSERT INTO settlement.correction (correction_id, kind, payee_id, currency, amount_micros, reason, content,
content_sha256, actor) VALUES ('gift', 'manual', 'pay-1', 'EUR', 5, 'x', '{}', sha256('x'), 'eve')
=> gift, its content has another SHA-256

# openings are the last closings
UPDATE settlement.statement SET opening = opening + 1, royalties = royalties - 1 WHERE statement_id =
'2026-11/pay-2/EUR'
=> 2026-11/pay-2/EUR, opening is not the last closing, opening 130976, 2026-10/pay-2/EUR, closing 130975

# openings are the last closings
DELETE FROM settlement.statement WHERE statement_id = '2026-11/pay-2/EUR'
=> 2026-10/pay-2/EUR, its closing is carried into no statement

# statement numbers have no gap
DELETE FROM settlement.statement WHERE number = 2
=> number 3 in place 2

# suspense ties to its lines
UPDATE settlement.royalty_line SET amount_micros = amount_micros + 1 WHERE destination = 'unclaimed' AND kind
= 'late'
=> suspense_unclaimed:art-3:EUR, lines 677884, ledger 677883

# claims moved what they say
INSERT INTO settlement.ownership_claim (claim_id, payee_id, claimant_id, currency, amount_micros, moved_micros, reason,
evidence, claimed_at, actor) VALUES ('mine', 'pay-1', 'pay-2', 'EUR', 5, 5, 'x', 'x', now(), 'eve')
=> claim:mine:opened, royalties_payable:pay-1:EUR, 0 instead of 5

# claims moved what they say
UPDATE ledger.account SET code = 'suspense_disputed:EUR' WHERE code = 'royalties_payable:pay-2:EUR'
=> suspense_disputed:EUR

# payout clearing is zero
DELETE FROM ledger.posting WHERE journal_id = (SELECT id FROM ledger.journal WHERE key =
'attempt:payout-1:paid')
=> EUR-20261105-1/pay-1, paid, clearing -180000 instead of 0

# payout clearing is zero
UPDATE ledger.journal SET key = 'x' WHERE key = 'attempt:payout-1:paid'
=> payout_clearing:EUR, holds 0, payouts -180000

# two people approved
DELETE FROM settlement.approval WHERE subject = '2026-10'
=> period 2026-10, closed without approval

# two people approved
UPDATE settlement.payout_batch SET content_sha256 = sha256('x')
=> batch EUR-20261105-1, paid without

# two people approved
WITH a AS (INSERT INTO settlement.advance (advance_id, payee_id, currency, amount_micros, content_sha256, actor, reason)
VALUES ('adv-1', 'pay-1', 'EUR', 1, sha256('x'), 'eve', 'x'))
UPDATE ledger.journal SET key = 'advance:adv-1' WHERE key = 'sale:sale-1'
=> advance adv-1, paid without approval

# reversals are exact
UPDATE ledger.journal SET reverses = (SELECT id FROM ledger.journal WHERE key = 'sale:sale-2') WHERE key = 'sale:sale-1'
=> sale:sale-1, is not the exact opposite of journal

# seals are the sum of their postings
UPDATE ledger.closing_balance SET debits = debits + 1, closing = closing + 1 WHERE seal = '2026-10' AND account_id
= (SELECT id FROM ledger.account WHERE code = 'receivable:EUR')
=> 2026-10, receivable:EUR, debits, 13090001 instead of 13090000

# the log has no gap
DELETE FROM ledger.log_leaf WHERE kind = 'journal' AND reference = 'sale:sale-1'
=> journal, sale:sale-1, is sealed, and not in the log before its seal

# payouts tie to the bank
DELETE FROM settlement.payout_event WHERE state = 'paid'
=> payout-1, attempt:payout-1:paid has no event

# payouts reconcile
UPDATE settlement.payout SET amount_micros = 170000 WHERE payee_id = 'pay-1'
=> EUR-20261105-1/pay-1, statement 2026-11/pay-1/EUR says 180000

# bank statements add up
WITH m AS (INSERT INTO settlement.bank_message (sha256, kind, version, message_id, name, actor)
VALUES (sha256('x'), 'camt.053', '08', 'M1', 'f', 'eve') RETURNING id)
INSERT INTO settlement.bank_statement (bank_message_id, number, statement_id, opening_micros, closing_micros)
SELECT id, 1, 'S1', 0, 5 FROM m
=> S1 in M1, opening 0, booked 0, closing 5

# bank statements add up
WITH m AS (INSERT INTO settlement.bank_message (sha256, kind, version, message_id, name, actor)
VALUES (sha256('x'), 'camt.053', '08', 'M1', 'f', 'eve') RETURNING id), s AS (
INSERT INTO settlement.bank_statement (bank_message_id, number, statement_id, account)
SELECT id, 1, 'S1', 'FR** **** 1234' FROM m)
INSERT INTO settlement.bank_entry (bank_message_id, number, statement, says, attempt_id)
SELECT id, 1, 1, 'paid', 'payout-1' FROM m
=> S1 in M1, account FR** **** 1234, batch EUR-20261105-1, pays from

# the schema is the one last migrated
DROP TRIGGER append_only ON ledger.posting
=> trigger append_only on ledger.posting is missing

# the schema is the one last migrated
CREATE OR REPLACE FUNCTION guard.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'
=> function guard.refuse_change() is changed

# the schema is the one last migrated
GRANT SELECT (code) ON ledger.account TO portal
=> grant of SELECT on column ledger.account.code to portal is new

# the schema is the one last migrated
ALTER ROLE portal BYPASSRLS
=> role portal is changed: was 'login, inherit', is 'login, inherit, sees

# the schema is the one last migrated
UPDATE pg_catalog.pg_event_trigger SET evtenabled = 'D' WHERE evtname = 'ddl_fence'
=> event trigger ddl_fence is changed: was 'enabled A on

# guards are in place
DROP TRIGGER append_only ON ledger.posting
=> ledger.posting, append_only, is missing

# guards are in place
GRANT UPDATE ON ledger.posting TO settlement
=> ledger.posting, settlement, may UPDATE

# guards are in place
GRANT SELECT ON ledger.posting TO auditor
=> ledger.posting, auditor, may SELECT
"""


def _cases() -> Iterator[tuple[str, str, str]]:
    for block in FALSIFICATIONS.strip().split("\n\n"):
        name, *statement, fault = block.split("\n")
        sql = " ".join(statement)
        for short, long in NAMES.items():
            sql = sql.replace(short, long)
        yield name.removeprefix("# "), sql, fault.removeprefix("=> ")


CASES = list(_cases())


@pytest.mark.parametrize(("name", "statement", "fault"), CASES, ids=[case[2] for case in CASES])
def test_a_check_sees_what_it_is_for(tampered: Tampered, name: str, statement: str, fault: str) -> None:
    with tampered(statement) as own:
        (result,) = verify(own, [BY_NAME[name]]).results
    assert any(fault in found for found in result.faults), result.faults
    assert len(result.faults) <= SHOWN


def test_a_guard_that_is_off_is_seen(tampered: Tampered) -> None:
    with tampered() as own:
        own.connection().exec_driver_sql("RESET ROLE")
        own.connection().exec_driver_sql("ALTER TABLE ledger.posting ENABLE TRIGGER append_only")
        own.connection().exec_driver_sql("SET LOCAL ROLE auditor")
        (result,) = verify(own, [BY_NAME["guards are in place"]]).results
    assert result.faults == ("ledger.posting, append_only, is not always on",)


def test_every_check_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(BY_NAME)


def test_many_faults_are_counted_to_a_limit(tampered: Tampered) -> None:
    with tampered("UPDATE ledger.posting SET amount = amount + 1") as own:
        (result,) = verify(own, [BY_NAME["journals say what was posted"]]).results
    assert len(result.faults) == SHOWN and result.more and not result.ok


def test_many_statements_without_their_lines_stop_no_other_check(tampered: Tampered) -> None:
    """More faults than are shown, in a check that reads a COPY."""
    with tampered(
        "INSERT INTO settlement.payee (payee_id, kind, currency, actor)"
        " SELECT 'p' || g, 'person', 'EUR', 'x' FROM generate_series(1, 20) AS g",
        "INSERT INTO settlement.royalty_line (period_id, kind, sale_id, player, destination, payee_id, amount_micros,"
        " currency, distribution_key)"
        " SELECT '2026-10', 'royalty', min(s.id), 'art-1', 'payee', p.payee_id, 0, 'EUR', 'x'"
        " FROM settlement.sale AS s CROSS JOIN settlement.payee AS p WHERE p.payee_id ~ '^p[0-9]' GROUP BY p.payee_id",
        "INSERT INTO settlement.statement (statement_id, number, period_id, payee_id, currency, opening, royalties,"
        " late, adjustments, refunds, reserves, recoupment, tax, claims, fx, payments, closing, payable, held,"
        " below_minimum, below_unit, body, sha256)"
        " SELECT '2026-10/' || payee_id || '/EUR', 100 + substr(payee_id, 2)::int, '2026-10',"
        " payee_id, 'EUR', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '{}', sha256(payee_id::bytea)"
        " FROM settlement.payee WHERE payee_id ~ '^p[0-9]'",
    ) as own:
        results = {result.name: result for result in verify(own).results}
    assert results["statements hold their lines"].more and len(results) == len(CHECKS)
    assert results["payout clearing is zero"].ok


def test_erased_prompts_break_nothing(tampered: Tampered) -> None:
    with tampered("DELETE FROM attribution.prompt_text") as own:
        assert verify(own).ok
