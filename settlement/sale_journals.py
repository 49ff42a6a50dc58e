"""Journals of sales, and of the sale's part of refunds."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from settlement.ledger import PostCounts, post_from_query
from settlement.posting import (
    RECEIVABLE,
    REFUND_SALE,
    REVENUE,
    SALE,
    TAX_COLLECTED,
    Account,
    Rule,
)


def post_sales(session: Session, sale_ids: Sequence[int]) -> PostCounts:
    """Post sales that are recorded, by `settlement.sale.id`, whoever recorded them being the actor.

    Raises:
        Conflict: a sale was posted with other content.
    """
    query = f"""
        SELECT {SALE.key_sql(sale="s.external_id")}, '{SALE.kind}', s.sold_at, (s.sold_at AT TIME ZONE 'UTC')::date,
               s.actor, NULL, true, l.account, l.class, s.currency, l.amount
        FROM settlement.sale AS s CROSS JOIN LATERAL (VALUES
            {_value(SALE, RECEIVABLE, +1, "s.price_micros")},
            {_value(SALE, REVENUE, -1, "s.price_micros - s.tax_micros")},
            {_value(SALE, TAX_COLLECTED, -1, "s.tax_micros")}) AS l (account, class, amount)
        WHERE s.id = ANY(%(ids)s) AND l.amount <> 0
    """  # noqa: S608  (made of the matrix)
    return post_from_query(session, query, {"ids": list(sale_ids)})


def post_refunds(session: Session, refund_ids: Sequence[int]) -> PostCounts:
    """Post the sale's side of refunds that are recorded, by `settlement.refund.id`; a run takes back the royalties.

    The tax given back is cumulative: floor(tax x refunded so far / price) less what earlier refunds gave back.

    Raises:
        Conflict: a refund was posted with other content.
    """
    query = f"""
        SELECT {REFUND_SALE.key_sql(refund="r.external_id")}, '{REFUND_SALE.kind}', r.refunded_at,
               (r.refunded_at AT TIME ZONE 'UTC')::date, r.actor, NULL, true, l.account, l.class, r.currency, l.amount
        FROM (
            SELECT r.id, r.external_id, r.refunded_at, r.actor, r.amount_micros, s.currency,
                   div(s.tax_micros * earlier.upto, s.price_micros)
                   - div(s.tax_micros * (earlier.upto - r.amount_micros), s.price_micros) AS tax
            FROM settlement.refund AS r JOIN settlement.sale AS s ON s.id = r.sale_id
            CROSS JOIN LATERAL (SELECT sum(e.amount_micros) AS upto FROM settlement.refund AS e
                                WHERE e.sale_id = r.sale_id AND e.id <= r.id) AS earlier
            WHERE r.id = ANY(%(ids)s)
        ) AS r CROSS JOIN LATERAL (VALUES
            {_value(REFUND_SALE, REVENUE, +1, "r.amount_micros - r.tax", "r.")},
            {_value(REFUND_SALE, TAX_COLLECTED, +1, "r.tax", "r.")},
            {_value(REFUND_SALE, RECEIVABLE, -1, "r.amount_micros", "r.")}) AS l (account, class, amount)
        WHERE l.amount <> 0
    """  # noqa: S608  (made of the matrix)
    return post_from_query(session, query, {"ids": list(refund_ids)})


def _value(rule: Rule, account: Account, sign: int, amount: str, table: str = "s.") -> str:
    """One row of a VALUES list: code, class and signed amount of a line that the rule has."""
    rule.check(account, sign)
    return f"({account.sql(currency=f'{table}currency')}, '{account.account_class}', {sign:+} * ({amount}))"
