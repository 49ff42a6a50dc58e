"""What a calculation comes to, in figures a person can review: kept with the draft and with the run."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from settlement.money import from_decimal, to_decimal


@dataclass(frozen=True, slots=True)
class PayeeTotals:
    """One payee's column in one currency, in micros: opening and movements make the closing."""

    payee_id: str
    currency: str
    opening: int
    royalties: int
    late: int
    refunds: int
    payments: int
    closing: int
    adjustments: int = 0
    reserves: int = 0
    recoupment: int = 0
    tax: int = 0
    claims: int = 0
    fx: int = 0


@dataclass(frozen=True, slots=True)
class CurrencyTotals:
    """Where the period's money in one currency came from and went, in micros."""

    currency: str
    base: int
    """Royalty base of the period's sales."""
    slices: int
    """What they pay in royalties, to everybody together."""
    paid: int
    """Royalties of payees."""
    unclaimed: int
    pending: int
    unattributed: int
    late: int
    """What left suspense, whoever got it."""
    refunds: int
    """What refunds took back; at or below zero."""
    adjustments: int = 0
    """What corrections of closed periods come to, amounts by hand included."""


@dataclass(frozen=True, slots=True)
class RunTotals:
    """What one calculation comes to. Sales are counted by what became of their image."""

    period_id: str
    sales: int
    attributed: int
    pending: int
    unattributed: int
    refunds: int
    lines: int
    currencies: tuple[CurrencyTotals, ...]
    payees: tuple[PayeeTotals, ...]

    def document(self) -> dict[str, Any]:
        """As JSON: counts are numbers, amounts decimal strings."""
        return {
            "period": self.period_id,
            "sales": self.sales,
            "attributed": self.attributed,
            "pending": self.pending,
            "unattributed": self.unattributed,
            "refunds": self.refunds,
            "lines": self.lines,
            "currencies": [_with_text(totals) for totals in self.currencies],
            "payees": [_with_text(totals) for totals in self.payees],
        }

    @classmethod
    def read(cls, document: dict[str, Any]) -> "RunTotals":
        """The totals that `document` wrote."""
        return cls(
            period_id=document["period"],
            **{
                name: document[name]
                for name in ("sales", "attributed", "pending", "unattributed", "refunds", "lines")
            },
            currencies=tuple(CurrencyTotals(**_with_micros(entry)) for entry in document["currencies"]),
            payees=tuple(PayeeTotals(**_with_micros(entry)) for entry in document["payees"]),
        )


@dataclass(frozen=True, slots=True)
class PayeeDifference:
    """What a payee earns in this period and what she earned in the last one, in micros."""

    payee_id: str
    currency: str
    last: int
    this: int

    @property
    def difference(self) -> int:
        """This less last."""
        return self.this - self.last


def differences(this: RunTotals, last: RunTotals | None) -> list[PayeeDifference]:
    """Earnings (royalties, late, adjustments, refunds) beside the last period's, by payee and currency."""
    earned: dict[tuple[str, str], list[int]] = {}
    for position, totals in enumerate((last, this)):
        for payee in totals.payees if totals is not None else ():
            pair = earned.setdefault((payee.payee_id, payee.currency), [0, 0])
            pair[position] = payee.royalties + payee.late + payee.adjustments + payee.refunds
    return [PayeeDifference(*key, *earned[key]) for key in sorted(earned)]


@dataclass(frozen=True, slots=True)
class FigureDifference:
    """One of a currency's figures in this period and in the last one, in micros."""

    currency: str
    figure: str
    """A field of `CurrencyTotals`."""
    last: int
    this: int

    @property
    def difference(self) -> int:
        """This less last."""
        return self.this - self.last


def figure_differences(this: RunTotals, last: RunTotals | None) -> list[FigureDifference]:
    """Every figure of every currency beside the last period's; 0 where the currency was not there."""
    sides = [
        {totals.currency: totals for totals in (run.currencies if run is not None else ())}
        for run in (last, this)
    ]
    return [
        FigureDifference(currency, figure, *(getattr(side.get(currency), figure, 0) for side in sides))
        for currency in sorted(sides[0] | sides[1])
        for figure in CurrencyTotals.__slots__
        if figure != "currency"
    ]


def collect_totals(session: Session, period_id: str) -> RunTotals:
    """The totals of the calculation in the temporary tables (`calculation.calculate_lines`)."""
    connection = psycopg_connection(session)
    counts = connection.execute(_COUNTS).fetchone()
    assert counts is not None
    currencies = connection.execute(_CURRENCIES).fetchall()
    payees = connection.execute(_PAYEES).fetchall()
    sales, attributed, pending, refunds, lines = (int(str(count)) for count in counts)
    return RunTotals(
        period_id=period_id,
        sales=sales,
        attributed=attributed,
        pending=pending,
        unattributed=sales - attributed - pending,
        refunds=refunds,
        lines=lines,
        currencies=tuple(
            CurrencyTotals(str(row[0]), *(int(str(amount)) for amount in row[1:])) for row in currencies
        ),
        payees=tuple(
            PayeeTotals(str(row[0]), str(row[1]), *(int(str(amount)) for amount in row[2:])) for row in payees
        ),
    )


def _with_text(totals: CurrencyTotals | PayeeTotals) -> dict[str, str]:
    values = {name: getattr(totals, name) for name in type(totals).__slots__}
    return {name: value if isinstance(value, str) else to_decimal(value) for name, value in values.items()}


def _with_micros(entry: dict[str, str]) -> dict[str, Any]:
    names = {"payee_id", "currency"}
    return {name: value if name in names else from_decimal(value) for name, value in entry.items()}


_COUNTS = """
SELECT count(*), count(*) FILTER (WHERE a.status = 'attributed'), count(*) FILTER (WHERE a.image_id IS NULL),
       (SELECT count(*) FROM pg_temp.run_refund), (SELECT count(*) FROM pg_temp.run_line)
FROM pg_temp.run_sale AS s LEFT JOIN pg_temp.run_attribution AS a ON a.image_id = s.image_id
"""
_CURRENCIES = """
SELECT currency, sum(base), sum(slice), sum(paid), sum(unclaimed), sum(pending), sum(unattributed), sum(late),
       sum(refunds), sum(adjustments)
FROM (
    SELECT currency, base, slice, 0 AS paid, 0 AS unclaimed, 0 AS pending, 0 AS unattributed, 0 AS late, 0 AS refunds,
           0 AS adjustments
    FROM pg_temp.run_sale
    UNION ALL
    SELECT currency, 0, 0, 0, 0, 0, 0, 0, 0, amount FROM pg_temp.run_correction WHERE kind = 'manual'
    UNION ALL
    SELECT currency, 0, 0,
           CASE WHEN kind = 'royalty' AND destination = 'payee' THEN amount ELSE 0 END,
           CASE WHEN kind = 'royalty' AND destination = 'unclaimed' THEN amount ELSE 0 END,
           CASE WHEN kind = 'pending' THEN amount ELSE 0 END,
           CASE WHEN kind IN ('royalty', 'unattributed') AND destination = 'unattributed' THEN amount ELSE 0 END,
           CASE WHEN kind = 'late' THEN amount ELSE 0 END, CASE WHEN kind = 'refund' THEN amount ELSE 0 END,
           CASE WHEN kind = 'adjustment' THEN amount ELSE 0 END
    FROM pg_temp.run_line
) AS moved GROUP BY currency ORDER BY currency
"""
_PAYEES = """
SELECT payee_id, currency, opening, royalties, late, refunds, payments, closing, adjustments, reserves, recoupment, tax,
       claims, fx
FROM pg_temp.run_column ORDER BY payee_id, currency
"""
