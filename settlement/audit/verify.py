"""Named checks of the whole system, from coalition values to payouts, run on the auditor's views.

Each says what it proves and finds what contradicts it. What one person with the application's rights could do the
database refuses already; these checks are for what remains: a defect, or somebody with a superuser's rights. They
compare what is recorded with itself: that nothing was replaced as a whole is proved by what left the database, not by
them.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from time import monotonic_ns
from typing import Any

import psycopg
from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.manifest import FORMAT, differences, read_manifest, server_version
from settlement.ledger.records import copy_rows, unescaped
from settlement.statements.detail import FIELDS

SHOWN = 10
"""How many of the faults that a check finds are named."""


@dataclass(frozen=True, slots=True)
class Check:
    """One statement about the books that must hold."""

    name: str
    proves: str
    query: str
    """SELECT of what contradicts it; no row where it holds."""
    read: "Callable[[psycopg.Connection[Any], str], Iterator[Sequence[object]]] | None" = None
    """Reads the query's rows and gives what contradicts it, where SQL alone does not."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found."""

    name: str
    proves: str
    faults: tuple[str, ...]
    """The first that contradict it, by their keys."""
    more: bool
    """Whether there are others."""
    milliseconds: int
    """How long it took."""

    @property
    def ok(self) -> bool:
        """Whether it holds."""
        return not self.faults


@dataclass(frozen=True, slots=True)
class Report:
    """What all checks found."""

    results: tuple[CheckResult, ...]
    notes: tuple[str, ...] = ()
    """What the checks cover and what they do not."""

    @property
    def ok(self) -> bool:
        """Whether all hold."""
        return all(result.ok for result in self.results)


def verify(
    session: Session,
    checks: Sequence[Check] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Run the checks.

    Args:
        session: of the role `auditor`, or any that may read the views.
        checks: None for all of `CHECKS`.
        progress: told each check's name, and how many of how many are done.
    """
    checks = CHECKS if checks is None else checks
    connection = psycopg_connection(session)
    results = []
    for number, check in enumerate(checks):
        if progress is not None:
            progress(check.name, number, len(checks))
        begun = monotonic_ns()
        found = list(islice((check.read or _rows)(connection, check.query), SHOWN + 1))
        results.append(
            CheckResult(
                check.name,
                check.proves,
                tuple(_shown(row) for row in found[:SHOWN]),
                len(found) > SHOWN,
                (monotonic_ns() - begun) // 1_000_000,
            )
        )
    if progress is not None:
        progress("verified", len(checks), len(checks))
    return Report(tuple(results))


def _shown(row: Sequence[object]) -> str:
    return ", ".join(str(value) for value in row if value is not None)


def _rows(connection: psycopg.Connection[Any], query: str) -> Iterator[Sequence[object]]:
    """The rows of a query a few thousand at a time, whatever their number."""
    with connection.cursor(name="verify") as cursor:
        cursor.itersize = 5_000
        cursor.execute(query)
        yield from cursor


def _digests(connection: psycopg.Connection[Any], query: str) -> Iterator[Sequence[object]]:
    """Faults of rows (key, content, SHA-256 in hex): hashed here, not by the server that is being checked."""
    for key, content, recorded in _rows(connection, query):
        content_bytes = content.encode() if isinstance(content, str) else bytes(content or b"")  # type: ignore[call-overload]
        if hashlib.sha256(content_bytes).hexdigest() != recorded:
            yield key, "its content has another SHA-256 than is recorded"


def _statement_lines(connection: psycopg.Connection[Any], query: str) -> Iterator[Sequence[object]]:
    """Faults of statements whose body has another count or digest of lines than their lines have."""
    said = {
        statement: (count, sha256)
        for statement, count, sha256 in _rows(
            connection,
            "SELECT statement_id, (body::jsonb #>> '{lines,count}')::bigint, body::jsonb #>> '{lines,sha256}'"
            " FROM audit.statements",
        )
    }
    found: list[Sequence[object]] = []
    records = (row.split(b"\t", 1) for row in copy_rows(connection, query))
    for statement, rows in groupby(records, key=lambda row: row[0]):
        digest = hashlib.sha256()
        count = 0
        for _, record in rows:
            digest.update(record)
            count += 1
        id = unescaped(statement)
        if said.pop(id, None) != (count, digest.hexdigest()):
            found.append((id, f"has {count} lines of another digest than its body says"))
    # Only now: a COPY that is left before its end aborts the transaction.
    yield from found
    empty = (0, hashlib.sha256().hexdigest())
    for name, lines in said.items():
        if lines != empty:
            yield name, f"its body says {lines[0]} lines, and there are none"


def _schema(connection: psycopg.Connection[Any], query: str) -> Iterator[Sequence[object]]:
    """What the schema has that no migration made, now or when a migration began."""
    changes = connection.execute(query.encode()).fetchall()
    if not changes:
        yield "no migration is recorded", "run `royalty db migrate`"
        return
    for number, _, _, _, unrecorded in changes:
        for difference in unrecorded:
            yield f"found by schema change {number}", difference
    number, server, format, recorded, _ = changes[-1]
    if (server, format) != (server_version(connection), FORMAT):
        yield (
            f"schema change {number} cannot be compared",
            "run `royalty db migrate`, which records the schema anew",
        )
        return
    for difference in differences(recorded, read_manifest(connection)):
        yield (difference,)


CHECKS: tuple[Check, ...] = (
    Check(
        "journals are whole",
        "Every journal balances in each currency, has exactly the lines that it declares, two or more, on accounts "
        "that exist, and was written before its period was sealed.",
        "SELECT coalesce(key, 'journal ' || journal_id), fault FROM audit.journal_faults",
    ),
    Check(
        "journals say what was posted",
        "The SHA-256 of every journal's kind, key, dates and lines is the one recorded when it was posted.",
        "SELECT key, content, content_sha256 FROM audit.journal_contents",
        _digests,
    ),
    Check(
        "reversals are exact",
        "Every journal that reverses another has its lines with the opposite amounts, and no others.",
        """
        SELECT r.key, 'is not the exact opposite of journal ' || r.reverses_journal_id
        FROM (SELECT DISTINCT journal_id, key, reverses_journal_id FROM audit.postings
              WHERE reverses_journal_id IS NOT NULL) AS r
        WHERE EXISTS (
            SELECT FROM (SELECT p.account, p.amount, 1 AS lines FROM audit.postings AS p
                         WHERE p.journal_id = r.journal_id
                         UNION ALL
                         SELECT p.account, -p.amount, -1 FROM audit.postings AS p
                         WHERE p.journal_id = r.reverses_journal_id) AS l
            GROUP BY l.account, l.amount HAVING sum(l.lines) <> 0)
        """,
    ),
    Check(
        "trial balance is zero",
        "In every period and currency debits equal credits, and openings and closings sum to zero.",
        "SELECT period_id, currency, 'debits ' || debits, 'credits ' || credits, 'closing ' || closing"
        " FROM audit.trial_balance_total WHERE opening <> 0 OR debits + credits <> 0 OR closing <> 0",
    ),
    Check(
        "seals are the sum of their postings",
        "What each seal fixed of every account is the last seal's balance and every posting booked since.",
        "SELECT seal, account, item, sealed || ' instead of ' || due FROM audit.seal_faults",
    ),
    Check(
        "the log has no gap",
        "No place of the log is empty, no record of it is gone, and every sealed journal and statement was in it "
        "before its seal.",
        "SELECT kind, reference, 'place ' || place, fault FROM audit.log_gaps",
    ),
    Check(
        "sales and refunds are posted",
        "Every sale and every refund has its journal, of its amount.",
        """
        SELECT x.key, CASE WHEN j.key IS NULL THEN 'is not posted' ELSE 'is posted with ' || coalesce(j.amount, 0) END
        FROM (SELECT 'sale:' || sale AS key, currency, price_micros AS amount FROM audit.sales
              UNION ALL SELECT 'refund:' || refund || ':sale', currency, -amount_micros FROM audit.refunds) AS x
        LEFT JOIN (SELECT key, sum(amount) FILTER (WHERE starts_with(account, 'receivable:')) AS amount
                   FROM audit.journal_lines WHERE kind IN ('sale', 'refund_sale') GROUP BY key) AS j ON j.key = x.key
        WHERE j.amount IS DISTINCT FROM x.amount
        """,
    ),
    Check(
        "attributions are complete",
        "Every attribution has the value of every coalition, a share for every player, and shares that sum to one.",
        "SELECT image, item, recorded || ' instead of ' || expected FROM audit.attribution_completeness",
    ),
    Check(
        "shares follow from coalition values",
        "Shapley values, placebo, threshold, pay and shares, computed again from v(S) in exact numbers, are as "
        "recorded.",
        "SELECT image, player, item, recorded || ' instead of ' || recomputed FROM audit.attribution_conservation"
        " ORDER BY player IS NOT NULL, image, player",
    ),
    Check(
        "prompts are the ones logged",
        "Every prompt that was not erased has the salted SHA-256 that was logged with its image.",
        r"""
        SELECT image, decode(prompt_salt, 'hex') || convert_to(prompt, 'UTF8') || '\x00'::bytea
               || convert_to(negative_prompt, 'UTF8'), prompt_sha256
        FROM audit.images WHERE prompt IS NOT NULL
        """,
        _digests,
    ),
    Check(
        "slices follow from sales and rate cards",
        "Each sale's base is its price less tax and deductions, its slice what the rate card in force makes of it; a "
        "pool's slices sum to the pool.",
        """
        SELECT sale, 'slice ' || slice_micros || ' of base ' || base_micros
        FROM audit.sales AS s
        -- The guarantee is known by the card's version alone.
        LEFT JOIN (SELECT rate_card_id AS card, valid_from, minimum_micros FROM audit.rate_changes) AS k
            ON k.card = s.rate_card_id AND k.valid_from = s.rate_card_valid_from
        WHERE base_micros <> greatest(0, price_micros - tax_micros - payment_fee_micros - marketplace_fee_micros
                                         - other_deduction_micros)
           OR rate_card_model = 'per_image'
              AND slice_micros <> coalesce(fee_micros,
                                           greatest(div(base_micros::numeric * rate_ppb, 1000000000), minimum_micros))
           OR rate_card_valid_from > sold_at
        UNION ALL
        SELECT period_id || ' ' || rate_card_id, 'pool ' || sum(slice_micros) || ' of bases ' || sum(base_micros)
        FROM audit.sales WHERE rate_card_model = 'period_pool'
        GROUP BY period_id, rate_card_id, rate_card_valid_from, currency, rate_ppb
        HAVING sum(slice_micros) <> div(sum(base_micros) * rate_ppb, 1000000000)
        """,
    ),
    Check(
        "lines add up to slices",
        "A slice's lines sum to it, what leaves suspense is what was there, and refunds take back what they say.",
        "SELECT sale, item, 'expected ' || expected, 'found ' || found FROM audit.slice_conservation",
    ),
    Check(
        "lines divide by shares and splits",
        "Each line is its share and split of what was divided, floor and largest remainder, to the micro; share and "
        "split are those of the attribution and of the contract in force at the sale; what leaves suspense goes by the "
        "contract or the fallback key in force at the period's end.",
        "SELECT line, item, coalesce(recorded::text, 'nothing') || ' instead of '"
        " || coalesce(expected::text, 'nothing') FROM audit.division_conservation",
    ),
    Check(
        "statements are as issued",
        "The SHA-256 of every statement's body is the one that names it.",
        "SELECT statement_id, body, sha256 FROM audit.statements",
        _digests,
    ),
    Check(
        "statement bodies say what is recorded",
        "Every figure in a body's summary is the one recorded beside it, of the same payee, period and currency.",
        """
        SELECT s.statement_id, v.item, v.said || ' instead of ' || v.recorded
        FROM audit.statements AS s
        CROSS JOIN LATERAL (VALUES
            ('statement', s.body::jsonb ->> 'statement', s.statement_id),
            ('period', s.body::jsonb #>> '{header,period,id}', s.period_id),
            ('payee', s.body::jsonb #>> '{header,payee,id}', s.payee_id)) AS v (item, said, recorded)
        WHERE v.said IS DISTINCT FROM v.recorded
        UNION ALL
        SELECT s.statement_id, v.item, coalesce(v.said, 'nothing') || ' instead of ' || v.recorded
        FROM audit.statements AS s
        LEFT JOIN LATERAL jsonb_array_elements(s.body::jsonb #> '{summary,columns}') AS c
            ON c ->> 'currency' = s.currency
        CROSS JOIN LATERAL (VALUES
            ('opening', c ->> 'opening', s.opening), ('royalties', c ->> 'royalties', s.royalties),
            ('late', c ->> 'late', s.late), ('adjustments', c ->> 'adjustments', s.adjustments),
            ('refunds', c ->> 'refunds', s.refunds), ('reserves', c ->> 'reserves', s.reserves),
            ('recoupment', c ->> 'recoupment', s.recoupment), ('tax', c ->> 'tax', s.tax),
            ('claims', c ->> 'claims', s.claims), ('fx', c ->> 'fx', s.fx), ('payments', c ->> 'payments', s.payments),
            ('closing', c ->> 'closing', s.closing),
            ('payable', s.body::jsonb #>> '{summary,of_which,payable}', s.payable),
            ('held', s.body::jsonb #>> '{summary,of_which,held}', s.held)) AS v (item, said, recorded)
        WHERE v.said::numeric * 1000000 IS DISTINCT FROM v.recorded
        """,
    ),
    Check(
        "statements hold their lines",
        "The count and digest of lines in every statement's body are those of its royalty lines.",
        f"""
        SELECT statement_id, {", ".join(FIELDS)} FROM audit.statement_line
        WHERE statement_id IN (SELECT statement_id FROM audit.statements)
        ORDER BY statement_id COLLATE "C", line COLLATE "C"
        """,  # noqa: S608  (names of columns)
        _statement_lines,
    ),
    Check(
        "statements tie to lines and ledger",
        "Each figure of every statement is the sum of its lines and the movement of the payee's account; each closing "
        "is that account's balance at the period's end.",
        "SELECT statement_id, item, 'statement ' || statement_says, 'lines ' || lines_say, 'ledger ' || ledger_says"
        " FROM audit.statement_tie_out",
    ),
    Check(
        "reserves, tax, advances and exchange follow from their terms",
        "Each reserve, tax withheld and conversion is what its rate makes of what it is taken from, and the accounts "
        "of reserves, withheld tax, advances and exchange hold what those rows say.",
        "SELECT subject, item, found || ' instead of ' || expected FROM audit.money_faults",
    ),
    Check(
        "corrections are applied as approved",
        "Every correction was approved by another person than proposed it and applied once, in the period of its "
        "lines; each line that it takes back is taken as it stood, and once; what it gives adds up, and is the share "
        "and split of it.",
        """
        SELECT correction_id, line_id, item, coalesce(recorded::text, 'nothing') || ' instead of '
               || coalesce(expected::text, 'nothing') FROM audit.correction_faults
        """,
    ),
    Check(
        "corrections say what was approved",
        "The SHA-256 of every correction's content, its preview included, is the one that was approved.",
        "SELECT correction_id, content, content_sha256 FROM audit.corrections",
        _digests,
    ),
    Check(
        "openings are the last closings",
        "Every statement opens with the balance that the one before it closed with, and no balance is dropped.",
        "SELECT statement_id, fault, 'opening ' || opening, previous, 'closing ' || previous_closing"
        " FROM audit.balance_chain",
    ),
    Check(
        "statement numbers have no gap",
        "Statements are numbered 1, 2, 3 and so on.",
        "SELECT statement_id, 'number ' || number || ' in place ' || place FROM (SELECT statement_id, number,"
        " row_number() OVER (ORDER BY number) AS place FROM audit.statements) AS s WHERE number <> place",
    ),
    Check(
        "suspense ties to its lines",
        "What lies unclaimed, pending, unattributed and disputed in the ledger is what royalty lines and claims say.",
        "SELECT account, 'lines ' || lines_say, 'ledger ' || ledger_says FROM audit.suspense_tie_out",
    ),
    Check(
        "claims moved what they say",
        "Every ownership claim moved what it says into suspense, and what two people decided out of it, once; nothing "
        "else is there.",
        "SELECT key, account, found || ' instead of ' || expected FROM audit.claim_faults",
    ),
    Check(
        "payout clearing is zero",
        "A payout moved clearing while it was on its way, and nothing is left of it once it is finished; clearing "
        "holds nothing else.",
        """
        SELECT payout_id, state, 'clearing ' || clearing || ' instead of ' || expected_clearing
        FROM audit.payout_clearing WHERE clearing <> expected_clearing
        UNION ALL
        SELECT a.account, 'holds ' || a.balance, 'payouts ' || coalesce(p.clearing, 0)
        FROM audit.accounts AS a
        LEFT JOIN (SELECT currency, sum(clearing) AS clearing FROM audit.payout_clearing GROUP BY currency) AS p
            ON p.currency = a.currency
        WHERE starts_with(a.account, 'payout_clearing:') AND a.balance <> coalesce(p.clearing, 0)
        """,
    ),
    Check(
        "payouts tie to the bank",
        "Each event of a payout has its journal, each journal its event; it moved what that event moves, on the "
        "payee's account and the bank's; and nobody was paid under a hold. Batches count their payouts as they are.",
        """
        SELECT payout_id, attempt_id, fault FROM audit.payout_faults
        UNION ALL
        SELECT batch_id, NULL, 'counts ' || waiting || ' on their way, ' || paid || ' paid, ' || rejected || ' refused'
        FROM audit.batch_progress_faults
        """,
    ),
    Check(
        "payouts reconcile",
        "On every payout that a bank was told of, clearing, what the bank's files book, what the ledger moved and what "
        "the payee's statement says agree.",
        "SELECT payout_id, fault FROM audit.payout_reconciliation WHERE fault IS NOT NULL",
    ),
    Check(
        "bank statements add up",
        "Every statement of a bank leads from its opening to its closing balance by its bookings, and books our "
        "payments on the account that they were told to leave.",
        """
        SELECT statement_id || ' in ' || message_id, 'opening ' || opening_micros, 'booked ' || booked_micros,
               'closing ' || closing_micros
        FROM audit.bank_statements WHERE NOT adds_up
        UNION ALL
        SELECT statement_id || ' in ' || message_id, 'account ' || account, 'batch ' || batch_id,
               'pays from ' || debtor_account
        FROM audit.bank_account_faults
        """,
    ),
    Check(
        "two people approved",
        "Every closed period, every batch that was submitted, every advance that was paid and every claim that was "
        "decided was approved by another person than made it, and is what was approved.",
        """
        SELECT 'period ' || period_id, 'closed without approval of its draft' FROM audit.periods AS p
        WHERE state = 'closed' AND NOT EXISTS (SELECT FROM audit.approvals AS a WHERE a.kind = 'period'
            AND a.subject = p.period_id AND a.content_sha256 = p.draft_sha256 AND a.maker <> a.checker)
        UNION ALL
        SELECT DISTINCT 'batch ' || batch_id, 'paid without approval' FROM audit.payouts AS p
        WHERE attempt_id IS NOT NULL AND NOT EXISTS (SELECT FROM audit.approvals AS a WHERE a.kind = 'payout_batch'
            AND a.subject = p.batch_id AND a.is_of_what_was_done AND a.maker <> a.checker)
        UNION ALL
        SELECT 'advance ' || advance_id, 'paid without approval' FROM audit.advances AS p
        WHERE paid_at IS NOT NULL AND NOT EXISTS (SELECT FROM audit.approvals AS a WHERE a.kind = 'advance'
            AND a.subject = p.advance_id AND a.is_of_what_was_done AND a.maker = p.maker AND a.maker <> a.checker)
        UNION ALL
        SELECT 'claim ' || claim_id, 'decided without approval' FROM audit.ownership_claims AS p
        WHERE decided_at IS NOT NULL AND NOT EXISTS (SELECT FROM audit.approvals AS a WHERE a.kind = 'ownership_claim'
            AND a.subject = p.claim_id AND a.is_of_what_was_done AND p.opened_by <> a.checker AND a.maker <> a.checker)
        """,
    ),
    Check(
        "the schema is the one last migrated",
        "Every table, column, constraint, trigger, function, view, policy, role and grant is as the last migration "
        "left it, and every migration found what the one before had left.",
        "SELECT number, server, format, manifest, unrecorded FROM audit.schema_changes ORDER BY number",
        _schema,
    ),
    Check(
        "guards are in place",
        "The triggers that keep history as it was written are on, the ledger's are all there, and no login may change "
        "the ledger.",
        """
        SELECT schema || '.' || object, guard, 'is not always on' FROM audit.guards WHERE enabled <> 'A'
        UNION ALL
        SELECT x.object, x.guard, 'is missing'
        FROM (VALUES ('ledger.account', 'append_only'), ('ledger.journal', 'append_only'),
                     ('ledger.posting', 'append_only'), ('ledger.seal', 'append_only'),
                     ('ledger.posting', 'posting_checked'), ('ledger.journal', 'journal_noted'),
                     ('guard.unchecked', 'journal_balances'), ('ledger.journal', 'journal_locks_seal'),
                     ('ledger.journal', 'journal_not_sealed'), ('ledger.seal', 'seal_locks')) AS x (object, guard)
        WHERE NOT EXISTS (SELECT FROM audit.guards AS g
                          WHERE g.schema || '.' || g.object = x.object AND g.guard = x.guard)
        UNION ALL
        SELECT schema || '.' || object, role, 'may ' || privilege FROM audit.grants
        WHERE schema = 'ledger' AND privilege IN ('UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER') AND role <> 'royalty_owner'
           OR role = 'auditor' AND (schema <> 'audit' OR privilege NOT IN ('SELECT', 'USAGE', 'EXECUTE'))
        """,
    ),
)
"""Every check, from the ledger outward."""
