"""Journals of what a period's close decides, in one statement of SQL."""

from sqlalchemy.orm import Session

from settlement.allocation import CONTENT
from settlement.ledger import PostCounts, post_from_query
from settlement.posting import (
    ADVANCES,
    CONTENT_SHARE,
    CONVERSION,
    CORRECTED_SUSPENSE,
    EXPENSE,
    FX_POSITION,
    PAYABLE,
    PENDING,
    PENDING_SLICE,
    RECOUPMENT,
    REFUND_ROYALTIES,
    RESERVE,
    RESERVE_MOVED,
    STATEMENT,
    TAX,
    TAX_WITHHELD,
    UNATTRIBUTED,
    UNATTRIBUTED_SLICE,
    UNCLAIMED,
    UNCLAIMED_SHARE,
    Account,
    Rule,
)


def post_run(session: Session, period_id: str, *, actor: str, approved_by: str | None = None) -> PostCounts:
    """Post everything that a period's close decides: one journal per statement, refund, and share of the run.

    Where a line's money comes from and where it lies:

    | line | from | to |
    |---|---|---|
    | royalty, pending, unattributed | royalty expense | payee, or suspense: unclaimed, pending, unattributed |
    | late | suspense, where the corrected line's money lies | payee, or suspense: unclaimed, unattributed |
    | refund (an amount below zero) | royalty expense | where the corrected line's money lies |
    | adjustment (of either sign), amount by hand | royalty expense | payee, or suspense: unclaimed, unattributed |

    Behind them, in the same journals, a line of its own for each step of the order at close: reserve, tax, conversion,
    recoupment. What a refund takes from a reserve, it does not take from the payable.

    Lines and steps must be written already. Posting again changes nothing.

    Raises:
        Conflict: the period is sealed and was posted otherwise.
    """
    names = {"period": "p.period_id", "currency": "l.currency", "payee": "l.payee_id", "refund": "l.refund"}
    # The first that fits. Each rule with the condition under which a line is its own.
    rules = (
        (REFUND_ROYALTIES, "l.refund IS NOT NULL"),
        (CORRECTED_SUSPENSE, "l.adjusts AND l.payee_id IS NULL"),
        (STATEMENT, "l.adjusts"),
        (CONTENT_SHARE, "l.payee_id IS NOT NULL AND l.content"),
        (STATEMENT, "l.payee_id IS NOT NULL"),
        (UNCLAIMED_SHARE, "l.destination = 'unclaimed'"),
        (PENDING_SLICE, "l.destination = 'pending'"),
        (UNATTRIBUTED_SLICE, "l.destination = 'unattributed'"),
    )
    # A statement's is in the payout currency, whatever it is made of.
    of_statement = names | {"currency": "y.currency"}
    key = " ".join(
        f"WHEN {condition} THEN {rule.key_sql(**(of_statement if rule is STATEMENT else names))}"
        for rule, condition in rules
    )
    kind = " ".join(f"WHEN {condition} THEN '{rule.kind}'" for rule, condition in rules)
    holders = (
        ("payee", PAYABLE, PAYABLE.sql("l.payee_id", "l.currency")),
        ("unclaimed", UNCLAIMED, UNCLAIMED.sql("l.player", "l.currency")),
        ("pending", PENDING, PENDING.sql(currency="l.currency")),
        ("unattributed", UNATTRIBUTED, UNATTRIBUTED.sql(currency="l.currency")),
    )
    sources = (*holders[1:], ("", EXPENSE, EXPENSE.sql(currency="l.currency")))
    holder = " ".join(f"WHEN '{destination}' THEN {code}" for destination, _, code in holders)
    source = " ".join(f"WHEN '{name}' THEN {code}" for name, _, code in sources)
    source_class = " ".join(f"WHEN '{name}' THEN '{account.account_class}'" for name, account, _ in sources)
    holder_class = " ".join(f"WHEN '{name}' THEN '{account.account_class}'" for name, account, _ in holders)
    # Summed before codes and keys are made: a payee has thousands of lines and one code.
    query = f"""
        WITH period AS (SELECT period_id, ends_at, zone FROM settlement.period WHERE period_id = %(period_id)s)
        SELECT m.key, m.kind, p.ends_at - interval '1 microsecond',
               ((p.ends_at - interval '1 microsecond') AT TIME ZONE p.zone)::date,
               %(actor)s::text, %(approved_by)s::text, false, m.account, m.class, m.currency, sum(m.amount)
        FROM (
            SELECT CASE {key} END AS key, CASE {kind} END AS kind, '' AS step, l.currency, side.account, side.class,
                   side.amount
            FROM (
                SELECT l.source, l.destination, l.currency, l.payee_id, l.player = '{CONTENT}' AS content,
                       r.external_id AS refund, l.kind = 'adjustment' AS adjusts,
                       CASE WHEN 'unclaimed' IN (l.source, l.destination) THEN l.player END AS player,
                       sum(l.amount_micros) AS amount
                FROM (
                    SELECT l.*, '' AS source FROM settlement.royalty_line AS l
                    WHERE l.period_id = %(period_id)s AND l.kind <> 'late'
                    UNION ALL
                    -- The same artist's, where a line moves an unclaimed share.
                    SELECT l.*, o.destination FROM settlement.royalty_line AS l
                    JOIN settlement.royalty_line AS o ON o.id = l.corrects
                    WHERE l.period_id = %(period_id)s AND l.kind = 'late'
                ) AS l LEFT JOIN settlement.refund AS r ON r.id = l.refund_id
                GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
                UNION ALL
                SELECT '', 'payee', c.currency, c.payee_id, false, NULL, true, NULL, sum(c.amount_micros)
                FROM settlement.correction AS c
                JOIN settlement.correction_application AS a ON a.correction_id = c.correction_id
                WHERE a.period_id = %(period_id)s AND c.kind = 'manual' GROUP BY c.currency, c.payee_id
            ) AS l CROSS JOIN period AS p
            LEFT JOIN settlement.payee AS y ON y.payee_id = l.payee_id
            CROSS JOIN LATERAL (VALUES
                (CASE l.source {source} END, CASE l.source {source_class} END, l.amount),
                (CASE l.destination {holder} END, CASE l.destination {holder_class} END, -l.amount)
            ) AS side (account, class, amount)
            UNION ALL {" UNION ALL ".join(_after_the_lines())}
        ) AS m CROSS JOIN period AS p
        GROUP BY m.key, m.kind, m.step, p.ends_at, p.zone, m.account, m.class, m.currency
        HAVING sum(m.amount) <> 0
    """  # noqa: S608  (made of the matrix)
    return post_from_query(
        session, query, {"period_id": period_id, "actor": actor, "approved_by": approved_by}
    )


def _after_the_lines() -> list[str]:
    """Queries of what a close decided after the lines: key, kind, step, currency, account, class and amount."""
    names = {
        "period": "p.period_id",
        "payee": "d.payee_id",
        "currency": "y.currency",
        "refund": "r.external_id",
    }
    conversion = "settlement.conversion AS d JOIN settlement.fx_rate AS x ON x.id = d.fx_rate_id"
    recoupment = (
        "(SELECT a.payee_id, a.currency, r.period_id, r.amount_micros FROM settlement.recoupment AS r"
        " JOIN settlement.advance AS a ON a.advance_id = r.advance_id) AS d"
    )
    refund = " JOIN settlement.refund AS r ON r.id = d.refund_id"
    steps: tuple[tuple[Rule, str, str, str, tuple[tuple[Account, str | None, int], ...]], ...] = (
        # In the step of the refund's own lines: the payable pays what the reserve does not.
        (
            REFUND_ROYALTIES,
            "",
            f"settlement.reserve_use AS d{refund}",
            "d.amount_micros",
            ((RESERVE, "payee", +1), (PAYABLE, "payee", -1)),
        ),
        (
            REFUND_ROYALTIES,
            "tax",
            f"settlement.tax_reversal AS d{refund}",
            "d.given_back_micros",
            ((TAX_WITHHELD, "territory", +1), (PAYABLE, "payee", -1)),
        ),
        (
            RESERVE_MOVED,
            "released",
            "(SELECT * FROM settlement.reserve_use WHERE refund_id IS NULL) AS d",
            "d.amount_micros",
            ((RESERVE, "payee", +1), (PAYABLE, "payee", -1)),
        ),
        (
            RESERVE_MOVED,
            "reserved",
            "settlement.reserve AS d",
            "d.amount_micros",
            ((PAYABLE, "payee", +1), (RESERVE, "payee", -1)),
        ),
        (
            TAX,
            "tax",
            "settlement.tax_determination AS d",
            "d.withheld_micros",
            ((PAYABLE, "payee", +1), (TAX_WITHHELD, "territory", -1)),
        ),
        (
            CONVERSION,
            "converted",
            conversion,
            "d.source_micros",
            ((PAYABLE, "payee", +1), (FX_POSITION, None, -1)),
        ),
        (
            CONVERSION,
            "converted",
            f"(SELECT d.payee_id, d.period_id, x.target_currency AS currency, d.target_micros FROM {conversion}) AS d",  # noqa: S608
            "d.target_micros",
            ((FX_POSITION, None, +1), (PAYABLE, "payee", -1)),
        ),
        (
            RECOUPMENT,
            "recouped",
            recoupment,
            "d.amount_micros",
            ((PAYABLE, "payee", +1), (ADVANCES, "payee", -1)),
        ),
    )
    queries = []
    for rule, step, source, amount, sides in steps:
        lines = []
        for account, owner, sign in sides:
            rule.check(account, sign)
            code = account.sql(
                f"d.{owner}_id" if owner == "payee" else f"d.{owner}" if owner else None, "d.currency"
            )
            lines.append(f"({code}, '{account.account_class}', {sign:+} * {amount})")
        queries.append(
            f"""
            SELECT {rule.key_sql(**names)}, '{rule.kind}', '{step}', d.currency, side.account, side.class, side.amount
            FROM {source}
            JOIN settlement.payee AS y ON y.payee_id = d.payee_id
            JOIN period AS p ON p.period_id = d.period_id
            CROSS JOIN LATERAL (VALUES {", ".join(lines)}) AS side (account, class, amount)
            """  # noqa: S608  (made of the matrix)
        )
    return queries
